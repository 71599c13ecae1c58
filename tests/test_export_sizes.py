"""ONNX against torch at every size and width of the paper: one export each, minutes in all."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.encoder import OnnxEncoder
from model.export import TOLERANCE, embed_one, export_onnx
from model.network import MetaGait, NetworkConfig

# CASIA-B's channels and, "double for OU-MVLP", its other ones.
WIDTHS = [(32, 64, 128), (64, 128, 256)]
SIZES = [(64, 44), (128, 88)]
BATCHES = [[1], [2], [3, 1, 31, 2], [300]]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("channels", WIDTHS, ids=lambda channels: f"{channels[0]}-{channels[2]}")
def test_onnx_equals_torch(
    channels: tuple[int, int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = MetaGait(NetworkConfig(size=size, channels=channels)).eval()
    facts = export_onnx(network, tmp_path / "model.onnx", name="wide")
    assert (facts.size, facts.parts, facts.dimensions) == (size, size[0], 128)
    encoder = OnnxEncoder.open(tmp_path / "model.onnx", provider="cpu")
    generator = np.random.default_rng(1)
    for lengths in BATCHES:
        walks = [generator.integers(0, 256, (length, *size), np.uint8) for length in lengths]
        for row, walk in zip(encoder.encode(walks), walks, strict=True):
            expected = embed_one(network, walk)
            # Parts have length 1: numbers of this size are what the tolerance is meant for.
            assert np.sqrt((expected**2).mean()) == pytest.approx(128**-0.5, rel=0.01)
            assert float(np.abs(row - expected).max()) <= TOLERANCE
