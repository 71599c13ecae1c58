"""Initial weights for a training, taken from a checkpoint or an exported ONNX file.

An exported file keeps the names of the parameters, so the shipped weights can be fine-tuned on
other data without the checkpoint they came from.
"""

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

from model.averaging import Weights
from model.checkpoint import load_checkpoint
from model.errors import ModelFileError
from model.manifest import read_model
from model.networks import Network

# PyTorch's exporter writes equal initializers only once if they have at most this many numbers.
_MOST_MERGED = 1024
_MERGED = (
    ". An exported file holds small weights that are equal, as before any training, only once: "
    "begin with the checkpoint, or without a start"
)


def start_from(path: Path, network: Network) -> None:
    """Load the weights in `path`, a `.pt` checkpoint or an `.onnx` file, into `network`.

    Raises:
        ModelFileError: the file cannot be read, or its weights do not fit this network.

    """
    weights = _from_onnx(path) if path.suffix == ".onnx" else load_checkpoint(path).average
    wanted = network.state_dict()
    # The batch counters control nothing here, and a file for inference lacks them.
    needed = {key for key in wanted if not key.endswith("num_batches_tracked")}
    wrong = sorted(
        key for key in needed if key not in weights or weights[key].shape != wanted[key].shape
    )
    if wrong:
        merged = path.suffix == ".onnx" and all(
            key not in weights and wanted[key].numel() <= _MOST_MERGED for key in wrong
        )
        raise ModelFileError(
            f"expected weights of this network in {path}, got none of the right shape for "
            f"{', '.join(wrong[:3])}{' …' if len(wrong) > 3 else ''}{_MERGED if merged else ''}"
        )
    known = {key: weights[key] for key in wanted if key in weights}
    network.load_state_dict(known, strict=False)


def _from_onnx(path: Path) -> Weights:
    try:
        graph = onnx.load_from_string(read_model(path)).graph
        return {i.name: torch.tensor(numpy_helper.to_array(i)) for i in graph.initializer}
    except ModelFileError:
        raise
    except Exception as error:  # onnx.load raises whatever its parsers hit in a foreign file
        raise ModelFileError(f"expected an ONNX model in {path}, got: {error}") from error
