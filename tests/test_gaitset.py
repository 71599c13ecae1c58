"""The GaitSet baseline: what the paper says it is, and the contract that all networks share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.encoder import OnnxEncoder
from model.errors import ConfigError
from model.export import embed_one, export_onnx
from model.gaitset import GaitSet, GaitSetConfig, set_maximum

TINY = GaitSetConfig(channels=(3, 4, 5), dimensions=6, scales=(1, 2, 4))


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


def walk(frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 64, 44), dtype=torch.uint8, generator=generator)


def convolved(stage: torch.nn.Module, plane: Tensor) -> Tensor:
    """Two convolutions with LeakyReLU, from the weights of a stage, one picture at a time."""
    for weight in stage.parameters():
        plane = F.leaky_relu(F.conv2d(plane, weight, padding=weight.shape[-1] // 2))
    return plane


def naive_parts(network: GaitSet, frames: Tensor) -> Tensor:
    """The parts of one walk as the paper's Figure 2 draws them, frame by frame."""
    planes = [frame[None, None].double() / 255 for frame in frames]
    sets = []
    for stage, layer in enumerate(network.frames):
        planes = [convolved(layer, plane) for plane in planes]
        if stage < 2:
            planes = [F.max_pool2d(plane, 2) for plane in planes]
        sets.append(torch.stack(planes).amax(dim=0))
    broad = F.max_pool2d(convolved(network.sets[0], sets[0]), 2)
    broad = convolved(network.sets[1], broad + sets[1]) + sets[2]
    parts = []
    for plane in (sets[2][0], broad[0]):
        for scale in network.config.scales:
            for strip in plane.chunk(scale, dim=1):
                pixels = strip.flatten(1)
                parts.append(pixels.amax(dim=1) + pixels.mean(dim=1))
    weights = network.head.weight
    return torch.stack([part @ weight for part, weight in zip(parts, weights, strict=True)])


def test_parts_are_those_of_the_paper() -> None:
    network = GaitSet(TINY).requires_grad_(False)
    frames = walk(4, 1)
    expected = naive_parts(network.double(), frames)
    got = network.float().forward_parts(frames[None], torch.tensor([4]))[0]
    assert got.shape == (TINY.parts, 6) == (14, 6)
    torch.testing.assert_close(got, expected.float())


def test_the_paper_network_has_62_parts_and_its_size() -> None:
    network = GaitSet(GaitSetConfig())
    assert network.config.parts == 62
    convolutions = [p.numel() for n, p in network.named_parameters() if n != "head.weight"]
    frames = 25 * 32 + 9 * (32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    broad = 9 * (32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    assert sum(convolutions) == frames + broad
    assert network.head.weight.shape == (62, 128, 256)


def test_neither_the_order_nor_the_padding_of_frames_counts() -> None:
    network = GaitSet(TINY).eval()
    lengths = [9, 1, 4]
    walks = [walk(length, i) for i, length in enumerate(lengths)]
    padded = torch.full((3, 9, 64, 44), 200, dtype=torch.uint8)
    for row, frames in zip(padded, walks, strict=True):
        row[: len(frames)] = frames
    with torch.no_grad():
        together = network(padded, torch.tensor(lengths))
        for i, frames in enumerate(walks):
            backwards = network(frames.flip(0)[None], torch.tensor([len(frames)]))[0]
            torch.testing.assert_close(together[i], backwards, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=2), torch.ones(3, TINY.parts))


def test_padding_never_wins_against_negative_features() -> None:
    features = torch.tensor([[-3.0, -2.0, 5.0]]).reshape(1, 3, 1, 1, 1)
    valid = torch.tensor([[True, True, False]])
    assert set_maximum(features, valid).item() == -2.0


def test_gradients_reach_every_parameter() -> None:
    network = GaitSet(TINY).train()
    walks = torch.stack([walk(3, i) for i in range(4)])
    embedding = network(walks, torch.tensor([3, 3, 3, 3]))
    (embedding * torch.rand_like(embedding)).sum().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"scales": (3,)}, "scales"),
        ({"scales": ()}, "scales"),
        ({"size": (64, 42)}, "size"),
        ({"kind": "metagait"}, "kind"),
    ],
)
def test_a_wrong_configuration_names_its_key(wrong: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        GaitSetConfig(**wrong)  # type: ignore[arg-type]


def test_onnx_equals_torch(tmp_path: Path) -> None:
    network = GaitSet(TINY).eval()
    facts = export_onnx(network, tmp_path / "gaitset.onnx", name="gaitset")
    assert (facts.parts, facts.dimensions) == (14, 6)
    frames = walk(5, 7).numpy()
    got = OnnxEncoder.open(tmp_path / "gaitset.onnx", provider="cpu").encode([frames])[0]
    np.testing.assert_allclose(got, embed_one(network, frames), atol=1e-4)
