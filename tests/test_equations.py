"""Whole modules against loops written from the paper, in float64, and what the meta-weights do.

tests/test_network.py holds the single equations; here a feature map goes in and what the paper says
about it must come out, for walks of different lengths.
"""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.attention import Calibration, MetaTripleAttention
from model.hyper import MetaHyperNetwork, StaticWeights
from model.losses import cross_entropy, triplet_loss
from model.network import MetaGait, NetworkConfig
from model.pooling import MetaTemporalPooling
from tests.test_network import leaky, naive_local, sigmoid, walk

Array = NDArray[np.float64]

TINY = NetworkConfig(channels=(4, 6, 8), dimensions=5)
LENGTHS = (6, 3)


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


def ragged(*shape: int) -> tuple[Tensor, Tensor]:
    """Features of two walks of 6 and 3 frames, zero beyond their ends, and their lengths."""
    features = torch.rand(2, *shape, dtype=torch.float64) - 0.2
    features[1, :, LENGTHS[1] :] = 0
    return features, torch.tensor(LENGTHS, dtype=torch.float64)


def generated(source: nn.Module, features: Array) -> dict[str, Array]:
    """Weights of one walk `[C, T, H, W]` by Eq. 2 and 3, with loops."""
    assert isinstance(source, MetaHyperNetwork)
    frames, height, width = features.shape[1:]
    m = [
        sum(
            features[c, t, h, w] for t in range(frames) for h in range(height) for w in range(width)
        )
        / (frames * height * width)
        for c in range(len(features))
    ]
    first, second = source.meta_1.weight.detach().numpy(), source.meta_2.weight.detach().numpy()
    bias = source.meta_2.bias.detach().numpy()
    hidden = [leaky(sum(row[j] * m[j] for j in range(len(m)))) for row in first]
    flat = [
        leaky(bias[i] + sum(r * h for r, h in zip(second[i], hidden, strict=True)))
        for i in range(len(second))
    ]
    weights, at = {}, 0
    for name, shape in source.shapes.items():
        count = math.prod(shape)
        weights[name] = np.array(flat[at : at + count]).reshape(shape)
        at += count
    assert at == len(flat)
    return weights


def calibrated(
    signal: Array, code: Array, m: Array, weights: dict[str, Array], kernels: tuple[int, ...]
) -> tuple[Array, Array]:
    """Gated local and global streams of one signal (Eq. 4 and 5)."""
    gate = np.array([sigmoid(float(row @ m)) for row in weights["gate"]])
    local = naive_local(signal, {k: weights[f"kernel_{k}"] for k in kernels}, gate)
    hidden = np.array([leaky(float(row @ code)) for row in weights["reduce"]])
    return local, gate[-1] * (weights["expand"] @ hidden)


def of_dimension(weights: dict[str, Array], dimension: str) -> dict[str, Array]:
    return {n.split("/")[1]: w for n, w in weights.items() if n.startswith(dimension + "/")}


def test_temporal_attention_is_the_paper_on_the_time_axis() -> None:
    attend = MetaTripleAttention(4, (4, 4), dimensions=("temporal",), kernels=(1, 3), bins=3)
    attend = attend.double()
    x, lengths = ragged(4, 6, 4, 4)
    got = attend.attention_maps(x, lengths)["temporal"].detach().numpy()
    for n, length in enumerate(LENGTHS):
        features = x[n, :, :length].numpy()
        weights = of_dimension(generated(attend.weights, features), "temporal")
        courses = features.mean(axis=(2, 3))  # C,T
        codes = courses.reshape(4, 3, -1).mean(axis=2)  # 6 and 3 frames fall whole into 3 bins
        for c in range(4):
            local, broad = calibrated(courses[c], codes[c], codes.mean(axis=0), weights, (1, 3))
            inside = local + np.repeat(broad, length // 3)
            expected = [sigmoid(float(value)) for value in inside]
            np.testing.assert_allclose(got[n, c, :length, 0, 0], expected, atol=1e-12)


def test_spatial_attention_is_the_paper_on_the_plane() -> None:
    attend = MetaTripleAttention(4, (4, 6), dimensions=("spatial",), kernels=(1, 3), grid=(2, 3))
    attend = attend.double()
    x, lengths = ragged(4, 6, 4, 6)
    got = attend.attention_maps(x, lengths)["spatial"].detach().numpy()
    for n, length in enumerate(LENGTHS):
        features = x[n, :, :length].numpy()
        weights = of_dimension(generated(attend.weights, features), "spatial")
        planes = features.mean(axis=0)  # T,H,W
        codes = planes.reshape(length, 2, 2, 3, 2).mean(axis=(2, 4)).reshape(length, 6)
        for t in range(length):
            local, broad = calibrated(planes[t], codes[t], codes.mean(axis=0), weights, (1, 3))
            inside = local + broad.reshape(2, 3).repeat(2, axis=0).repeat(2, axis=1)
            expected = [[sigmoid(float(value)) for value in row] for row in inside]
            np.testing.assert_allclose(got[n, 0, t], expected, atol=1e-12)


def test_weights_of_all_dimensions_are_generated_from_the_walk_alone() -> None:
    """Eq. 1 to 3: W_cali = F_meta(X), one walk's frames and nothing else of the batch."""
    attend = MetaTripleAttention(4, (4, 4), kernels=(1, 3), bins=3, grid=(2, 2)).double()
    x, lengths = ragged(4, 6, 4, 4)
    seen: list[dict[str, Tensor]] = []
    attend.weights.register_forward_hook(lambda module, given, made: seen.append(made))
    attend(x, lengths)
    for n, length in enumerate(LENGTHS):
        expected = generated(attend.weights, x[n, :, :length].numpy())
        assert expected.keys() == seen[0].keys()
        for name, weight in expected.items():
            np.testing.assert_allclose(seen[0][name][n].detach().numpy(), weight, atol=1e-12)


@pytest.mark.parametrize("calibration", ["meta", "static"])
def test_attention_has_the_gradients_of_finite_differences(calibration: str) -> None:
    attend = MetaTripleAttention(
        3, (4, 4), kernels=(1, 3), bins=2, grid=(2, 2), calibration=calibration
    ).double()
    x, lengths = ragged(3, 6, 4, 4)
    names = [name for name, _ in attend.named_parameters()]
    values = tuple(parameter.detach().requires_grad_() for parameter in attend.parameters())

    def scaled(features: Tensor, *weights: Tensor) -> Tensor:
        given = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(attend, given, (features, lengths)).sum(dim=(2, 3, 4))

    assert torch.autograd.gradcheck(scaled, (x.requires_grad_(), *values), fast_mode=True)


def test_temporal_pooling_has_the_gradients_of_finite_differences() -> None:
    pool = MetaTemporalPooling(3, bins=2).double()
    x, lengths = ragged(3, 6, 2, 2)
    names = [name for name, _ in pool.named_parameters()]
    values = tuple(parameter.detach().requires_grad_() for parameter in pool.parameters())

    def pooled(features: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(
            pool, dict(zip(names, weights, strict=True)), (features, lengths)
        )

    assert torch.autograd.gradcheck(pooled, (x.requires_grad_(), *values), fast_mode=True)


def test_the_loss_reaches_every_weight_that_is_generated() -> None:
    """Not one stream, gate or dimension may lie outside the gradient of Eq. 9."""
    network = MetaGait(TINY).train()
    walks = torch.stack([walk(9, i) for i in range(6)])
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    embedding = network(walks, torch.full((6,), 9))
    (triplet_loss(embedding, labels).loss + cross_entropy(embedding, labels)).backward()
    sources = [m for m in network.modules() if isinstance(m, MetaHyperNetwork)]
    assert len(sources) == 4  # three attentions and the temporal pooling
    for source in sources:
        gradient = source.meta_2.weight.grad
        assert gradient is not None
        pieces = dict(zip(source.shapes, gradient.split(source.sizes), strict=True))
        assert [name for name, piece in pieces.items() if not piece.any()] == []
        assert source.meta_1.weight.grad is not None
        assert source.meta_1.weight.grad.any(dim=1).all()


def test_two_walks_get_different_weights_everywhere_in_the_network() -> None:
    network = MetaGait(TINY).eval()
    seen: list[dict[str, Tensor]] = []
    for module in network.modules():
        if isinstance(module, MetaHyperNetwork):
            module.register_forward_hook(lambda module, given, made: seen.append(made))
    with torch.no_grad():
        network(torch.stack([walk(9, 0), walk(9, 1) // 3]), torch.tensor([9, 9]))
    assert len(seen) == 4
    for weights in seen:
        same = [name for name, weight in weights.items() if torch.equal(weight[0], weight[1])]
        assert same == []


def test_static_weights_are_the_same_for_every_walk() -> None:
    source = StaticWeights({"kernel": (2, 3)})
    made = source(torch.rand(4, 5))["kernel"]
    assert all(torch.equal(made[0], other) for other in made)


def parameters(**switch: object) -> int:
    config = NetworkConfig(channels=(4, 6, 8), dimensions=5, **switch)  # type: ignore[arg-type]
    return sum(parameter.numel() for parameter in MetaGait(config).parameters())


def generating(weights: int, channels: int) -> int:
    """Parameters of a hyper network that generates so many weights (Eq. 3)."""
    return channels * channels + weights * channels + weights


def weights_of(channels: int, *, without: tuple[str, ...] = ()) -> int:
    """How many weights the three calibrations of one attention need."""
    attend = MetaTripleAttention(channels, (8, 8))
    return sum(
        math.prod(shape)
        for module in attend.calibrations.values()
        if isinstance(module, Calibration)
        for name, shape in module.shapes.items()
        if name not in without
    )


@pytest.mark.parametrize(
    ("switch", "gone"),
    [({"gate": False}, ("gate",)), ({"kernels": (1, 3)}, ("kernel_5",))],
)
def test_a_switch_removes_exactly_what_it_switched(
    switch: dict[str, object], gone: tuple[str, ...]
) -> None:
    stages = (6, 8, 8)  # channels after a0, a1 and b2
    removed = sum(
        generating(weights_of(c), c) - generating(weights_of(c, without=gone), c) for c in stages
    )
    if "kernels" in switch:  # the gate has one row fewer for each dimension: C + 8 bins + 8·4 cells
        removed += sum((c + 8 + 32) * (c + 1) for c in stages)
    assert parameters() - parameters(**switch) == removed


def test_static_weights_cost_one_number_each_and_no_attention_costs_none() -> None:
    stages = (6, 8, 8)
    meta, static = parameters(), parameters(calibration="static")
    assert meta - static == sum(c * c + weights_of(c) * c for c in stages)
    assert static - parameters(attention=()) == sum(weights_of(c) for c in stages)
