"""The network against loops written from the paper's equations, in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.attention import Calibration, MetaTripleAttention
from model.errors import ConfigError
from model.hyper import MetaHyperNetwork
from model.network import MetaGait, NetworkConfig
from model.pooling import GeneralizedMean, MetaTemporalPooling
from model.resample import overlaps

TINY = NetworkConfig(channels=(4, 6, 8), dimensions=5)


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


def leaky(value: float) -> float:
    return value if value > 0 else 0.01 * value


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def features(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64)


def test_hyper_network_is_equation_3() -> None:
    shapes = {"first": (2, 3), "second": (4,)}
    network = MetaHyperNetwork(3, shapes).double().requires_grad_(False)
    statistics = features(2, 3)
    made = network(statistics)
    for n in range(2):
        hidden = [
            leaky(
                sum(float(network.meta_1.weight[i, j]) * float(statistics[n, j]) for j in range(3))
            )
            for i in range(3)
        ]
        flat = [
            leaky(
                float(network.meta_2.bias[i])
                + sum(float(network.meta_2.weight[i, j]) * hidden[j] for j in range(3))
            )
            for i in range(10)
        ]
        assert made["first"][n].flatten().tolist() == pytest.approx(flat[:6])
        assert made["second"][n].tolist() == pytest.approx(flat[6:])


def naive_local(signal: np.ndarray, kernels: dict[int, np.ndarray], gate: np.ndarray) -> np.ndarray:
    """Sum over l of G[l] * conv_l(signal) for one signal of one or two axes (Eq. 5)."""
    answer = np.zeros_like(signal)
    for position, (size, kernel) in enumerate(kernels.items()):
        reach = size // 2
        offsets = list(itertools.product(range(-reach, reach + 1), repeat=signal.ndim))
        for place in np.ndindex(signal.shape):
            for weight, offset in zip(kernel, offsets, strict=True):
                source = tuple(p + o for p, o in zip(place, offset, strict=True))
                if all(0 <= s < limit for s, limit in zip(source, signal.shape, strict=True)):
                    answer[place] += gate[position] * weight * signal[source]
    return answer


@pytest.mark.parametrize("shape", [(7,), (4, 5)])
def test_calibration_streams_and_gate_are_equations_4_and_5(shape: tuple[int, ...]) -> None:
    size, kernels = 6, (1, 3, 5)
    calibrate = Calibration(
        size, axes=len(shape), kernels=kernels, reduction=2, gated=True
    ).double()
    weights = {k: features(2, *s) - 0.5 for k, s in calibrate.shapes.items()}
    signal, code = features(2, 3, *shape), features(2, 3, size)
    statistics = code.mean(dim=1)
    local, broad = calibrate(signal, code, statistics, weights)
    for n in range(2):
        gate = np.array(
            [sigmoid(float(weights["gate"][n, i] @ statistics[n])) for i in range(len(kernels) + 1)]
        )
        own = {k: weights[f"kernel_{k}"][n].numpy() for k in kernels}
        for b in range(3):
            expected = naive_local(signal[n, b].numpy(), own, gate)
            np.testing.assert_allclose(local[n, b].numpy(), expected, atol=1e-12)
            hidden = [leaky(float(weights["reduce"][n, i] @ code[n, b])) for i in range(3)]
            for g in range(size):
                value = sum(float(weights["expand"][n, g, i]) * hidden[i] for i in range(3))
                assert float(broad[n, b, g]) == pytest.approx(gate[-1] * value)


def test_attention_averages_three_sigmoid_maps() -> None:
    attend = MetaTripleAttention(6, (8, 8), grid=(2, 2), bins=3).double().requires_grad_(False)
    x, lengths = features(2, 6, 5, 8, 8), torch.tensor([5.0, 5.0], dtype=torch.float64)
    maps = attend.attention_maps(x, lengths)
    assert {name: tuple(m.shape) for name, m in maps.items()} == {
        "channel": (2, 6, 5, 1, 1),
        "temporal": (2, 6, 5, 1, 1),
        "spatial": (2, 1, 5, 8, 8),
    }
    assert all(float(m.min()) > 0 and float(m.max()) < 1 for m in maps.values())
    expected = torch.empty_like(x)
    for n, c, t, h, w in np.ndindex(*x.shape):
        total = (
            maps["channel"][n, c, t, 0, 0]
            + maps["temporal"][n, c, t, 0, 0]
            + maps["spatial"][n, 0, t, h, w]
        )
        expected[n, c, t, h, w] = x[n, c, t, h, w] * total / 3
    torch.testing.assert_close(attend(x, lengths), expected)


def test_channel_attention_of_one_frame_is_equation_5_from_the_feature_map() -> None:
    attend = MetaTripleAttention(4, (8, 8), dimensions=("channel",), kernels=(1, 3)).double()
    x = features(1, 4, 2, 8, 8)
    lengths = torch.tensor([2.0], dtype=torch.float64)
    weights = {
        key.split("/")[1]: value[0].detach().numpy()
        for key, value in attend.weights(x.mean(dim=(2, 3, 4))).items()
    }
    statistics = x[0].mean(dim=(2, 3)).numpy()  # C,T
    mean = statistics.mean(axis=1)
    gate = np.array([sigmoid(float(row @ mean)) for row in weights["gate"]])
    for t in range(2):
        s = statistics[:, t]
        hidden = np.array([leaky(float(v)) for v in weights["reduce"] @ s])
        kernels = {1: weights["kernel_1"], 3: weights["kernel_3"]}
        inside = gate[-1] * (weights["expand"] @ hidden) + naive_local(s, kernels, gate)
        expected = np.array([sigmoid(float(v)) for v in inside])
        got = attend.attention_maps(x, lengths)["channel"][0, :, t, 0, 0].detach().numpy()
        np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize(("length", "bins"), [(5, 8), (8, 8), (9, 4), (30, 8), (1, 3)])
def test_overlaps_against_a_fine_ruler(length: int, bins: int) -> None:
    share = overlaps(torch.tensor([float(length)], dtype=torch.float64), length + 3, bins)[0]
    fine = 2520
    expected = np.zeros((bins, length + 3))
    for mark in range(length * fine):
        position = (mark + 0.5) / fine
        expected[min(bins - 1, int(position / (length / bins))), int(position)] += 1 / fine
    np.testing.assert_allclose(share.numpy(), expected, atol=2 / fine)
    np.testing.assert_allclose(share.sum(dim=0)[:length].numpy(), 1, atol=1e-12)


def test_generalized_mean_is_the_pth_root_of_the_mean_pth_power() -> None:
    pool = GeneralizedMean().double().requires_grad_(False)
    x = features(2, 3, 4) + 0.1
    p = float(pool.exponent)
    expected = [[(sum(float(v) ** p for v in row) / 4) ** (1 / p) for row in walk] for walk in x]
    np.testing.assert_allclose(pool(x, 2).detach().numpy(), expected, rtol=1e-9)


def test_temporal_pooling_is_equations_7_and_8() -> None:
    pool = MetaTemporalPooling(4, bins=3).double().requires_grad_(False)
    x = features(2, 4, 6, 2, 3) - 0.3
    lengths = torch.tensor([6.0, 3.0], dtype=torch.float64)
    x[1, :, 3:] = 0
    got = pool(x, lengths).detach().numpy()
    p = float(pool.gem.exponent) if pool.gem else 0.0
    for n, length in enumerate((6, 3)):
        walk = x[n, :, :length]
        weight = pool.weights(walk.mean(dim=(1, 2, 3))[None])["time"][0].detach().numpy()
        course = walk.mean(dim=(0, 2, 3)).numpy()
        binned = course.reshape(3, -1).mean(axis=1)  # 6 and 3 frames fall whole into 3 bins
        mean, most, gem = (sigmoid(float(v)) for v in weight @ binned)
        for c, h, w in np.ndindex(4, 2, 3):
            line = [float(v) for v in walk[c, :, h, w]]
            power = (sum(max(v, 1e-4) ** p for v in line) / length) ** (1 / p)
            expected = mean * sum(line) / length + most * max(line) + gem * power
            assert got[n, c, h, w] == pytest.approx(expected, rel=1e-6)


def walk(frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 64, 44), dtype=torch.uint8, generator=generator)


def test_an_embedding_does_not_depend_on_its_batch() -> None:
    network = MetaGait(NetworkConfig(channels=(8, 12, 16), dimensions=16)).eval()
    lengths = [40, 1, 2, 3, 7, 31]
    walks = [walk(length, i) for i, length in enumerate(lengths)]
    padded = torch.full((len(walks), 40, 64, 44), 200, dtype=torch.uint8)
    for row, w in zip(padded, walks, strict=True):
        row[: len(w)] = w
    with torch.no_grad():
        together = network(padded, torch.tensor(lengths))
        for i, w in enumerate(walks):
            alone = network(w[None], torch.tensor([len(w)]))
            assert float((together[i] - alone[0]).abs().max()) <= 1e-4
    assert float((together[0] - together[5]).abs().max()) > 1e-4


def test_a_walk_of_two_frames_counts_as_its_repetition() -> None:
    network = MetaGait(TINY).eval()
    short = walk(2, 1)
    with torch.no_grad():
        got = network(short[None], torch.tensor([2]))
        repeated = network(short[[0, 1, 0]][None], torch.tensor([3]))
    torch.testing.assert_close(got, repeated)


def test_strips_do_not_see_each_other() -> None:
    network = MetaGait(TINY)
    x = torch.zeros(1, 4, 3, 64, 44)
    x[:, :, :, 8:16] = torch.rand(1, 4, 3, 8, 44)  # the second of eight strips
    local = network.a0.local(x[:, :, :, 8:16])
    combined = network.a0(x) - F.leaky_relu(network.a0.whole(x))
    torch.testing.assert_close(combined[:, :, :, 8:16], F.leaky_relu(local))
    assert not combined[:, :, :, :8].any()
    assert not combined[:, :, :, 16:].any()


def test_gradients_reach_every_parameter() -> None:
    network = MetaGait(TINY).train()
    walks = torch.stack([walk(9, i) for i in range(4)])
    network(walks, torch.tensor([9, 9, 9, 9])).pow(2).mul(torch.rand(4, 64, 5)).sum().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_two_walks_get_different_calibration_weights() -> None:
    attend = MetaTripleAttention(6, (8, 8))
    weights = attend.weights(torch.rand(2, 6))
    assert all(not torch.equal(w[0], w[1]) for w in weights.values())


@pytest.mark.parametrize(
    ("switch", "gone"),
    [
        ({"attention": ("channel",)}, None),
        ({"attention": ()}, "attend."),
        ({"attention_stages": ("b2",)}, "attend.a0"),
        ({"calibration": "static"}, "attend.a0.weights.meta_1"),
        ({"gate": False}, None),
        ({"pooling": ("max",), "pooling_weights": "none"}, "pool_time."),
        ({"pooling_weights": "static"}, "pool_time.weights.meta_1"),
        ({"kernels": (1,)}, None),
    ],
)
def test_a_switch_removes_its_parameters(switch: dict[str, object], gone: str | None) -> None:
    whole = MetaGait(TINY)
    config = NetworkConfig(channels=(4, 6, 8), dimensions=5, **switch)  # type: ignore[arg-type]
    smaller = MetaGait(config).eval()
    count = [sum(p.numel() for p in network.parameters()) for network in (whole, smaller)]
    assert count[1] < count[0]
    if gone:
        assert any(name.startswith(gone) for name, _ in whole.named_parameters())
        assert not any(name.startswith(gone) for name, _ in smaller.named_parameters())
    assert smaller(walk(5, 0)[None], torch.tensor([5])).shape == (1, 64, 5)


def test_full_width_trunk_has_the_size_of_gaitgl() -> None:
    config = NetworkConfig(attention=(), pooling=("max",), pooling_weights="none")
    assert sum(p.numel() for p in MetaGait(config).parameters()) == pytest.approx(2.51e6, rel=0.01)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"attention": ("colour",)}, "attention"),
        ({"kernels": (2,)}, "kernels"),
        ({"pooling": ()}, "pooling"),
        ({"size": (60, 44)}, "size"),
        ({"calibration": "dynamic"}, "calibration"),
    ],
)
def test_a_wrong_configuration_names_its_key(wrong: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        NetworkConfig(**wrong)  # type: ignore[arg-type]
