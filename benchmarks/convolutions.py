"""Compare the speed of a model's convolutions with the machine's ceiling, and show their share.

    python benchmarks/convolutions.py [--models FILE ...] [--threads 1 2] [--rounds 9]

ONNX Runtime's profile gives the time of each kernel for a walk of 60 frames. For the convolutions,
the operations actually done (fewer than the network's, in Winograd form) are counted from the
shapes, and their rate is compared with the ceiling of the same precision (benchmarks/ceilings.py).
Files and ceilings take turns; every kernel counts by its quickest run and a ceiling by its best, so
that other work on the machine affects neither. The goals are 85 % in float32 and 75 % in 8-bit
integers, for the precision in which a file does most operations. `encode.py` has this table too.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import onnx
from ceilings import kernels
from machine import processors

from model.encoder import SHIPPED_MODEL, available_cpus
from model.engines import onnxruntime
from model.tables import markdown

FRAMES = 60
GOALS = {"float32": 0.85, "int8": 0.75}
_PRECISIONS = {"Conv": "float32", "FusedConv": "float32", "QLinearConv": "int8"}
"""Precision of each convolving operation, by its name in ONNX Runtime."""
_WEIGHTS = {"Conv": 1, "FusedConv": 1, "QLinearConv": 3}
"""Which input of each holds the weights."""
_SUFFIX = "_kernel_time"
HEAD = ["convolutions of", "precision", "of the time", "GFLOP", "GFLOP/s", "of ceiling", "goal"]


class Convolved(NamedTuple):
    """The operations of one precision's convolutions in one walk, and their time."""

    flop: float
    seconds: float
    share: float
    """Of the time of all kernels."""


class Profiled:
    """A model file in a session that records the time of each kernel."""

    def __init__(self, path: Path, threads: int, folder: Path) -> None:
        optimised = folder / f"{path.stem}-{threads}.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # As in the service's encoder: threads that spin after a run would slow down what follows.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / path.stem)
        options.optimized_model_filepath = str(optimised)
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        self._weights = weights_of(onnx.load(optimised).graph)

    def run(self, frames: int = FRAMES) -> None:
        """Embed a walk of random silhouettes."""
        pixels = np.random.default_rng(0).integers(0, 2, (1, frames, 64, 44)).astype(np.uint8)
        given = {"silhouettes": pixels * 255, "lengths": np.array([frames], np.int64)}
        self._session.run(None, given)

    def found(self) -> dict[str, Convolved]:
        """End the profile, and return its convolutions by precision."""
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        return convolved(events, self._weights)


def weights_of(graph: onnx.GraphProto) -> dict[str, Sequence[int]]:
    """Return the shape of each convolution's weights in an optimised graph, by node name."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return {
        node.name: shapes[node.input[_WEIGHTS[node.op_type]]]
        for node in graph.node
        if node.op_type in _WEIGHTS
    }


def convolved(
    events: Iterable[Mapping[str, Any]], weights: Mapping[str, Sequence[int]]
) -> dict[str, Convolved]:
    """Sum up a profile of ONNX Runtime by precision; a node counts by its quickest run.

    Each output number of a convolution is the sum of as many products as one filter has weights.
    """
    quickest: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event["name"].endswith(_SUFFIX):
            name = event["name"].removesuffix(_SUFFIX)
            quickest[name] = min(event, quickest.get(name, event), key=lambda one: one["dur"])
    whole = sum(event["dur"] for event in quickest.values())
    flop: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    for name, event in quickest.items():
        precision = _PRECISIONS.get(event["args"]["op_name"])
        if precision is not None:
            ((shape,),) = (given.values() for given in event["args"]["output_type_shape"])
            flop[precision] += 2 * prod(shape) * prod(weights[name][1:])
            spent[precision] += event["dur"]
    return {p: Convolved(flop[p], spent[p] / 1e6, spent[p] / whole) for p in flop}


def measure(models: Sequence[Path], threads: int, rounds: int) -> list[list[str]]:
    """Let files and ceilings take turns, and return a row for each file and precision."""
    dense, ceilings = kernels(threads), dict.fromkeys(GOALS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        profiled = {path.stem: Profiled(path, threads, Path(folder)) for path in models}
        for _ in range(rounds):
            for one in profiled.values():
                one.run()
            for kernel in dense:
                began = perf_counter()
                kernel.run()
                rate = kernel.flop / (perf_counter() - began)
                ceilings[kernel.precision] = max(rate, ceilings.get(kernel.precision, 0.0))
        found = {name: one.found() for name, one in profiled.items()}
    return list(rows(found, ceilings))


def rows(
    found: Mapping[str, Mapping[str, Convolved]], ceilings: Mapping[str, float]
) -> Iterator[list[str]]:
    """Yield a row for each file and precision; the ceilings are in operations per second."""
    for name, by_precision in found.items():
        most = max(by_precision, key=lambda precision: by_precision[precision].flop)
        for precision, one in by_precision.items():
            rate, goal = one.flop / one.seconds, GOALS[precision]
            share = rate / ceilings[precision]
            told = [f"{one.flop / 1e9:.2f}", f"{rate / 1e9:.0f}", f"{share:.0%}"]
            met = f"≥ {goal:.0%} {'met' if share >= goal else 'missed'}"
            yield [name, precision, f"{one.share:.0%}", *told, met if precision == most else "–"]


def main() -> None:
    """Print a table for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    shipped = sorted(SHIPPED_MODEL.parent.glob("*.onnx"), reverse=True)
    parser.add_argument("--models", type=Path, nargs="+", default=shipped, metavar="FILE")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, available_cpus()}))
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    print(f"{processors()}, {FRAMES} frames")
    for threads in given.threads:
        table = [HEAD, *measure(given.models, threads, given.rounds)]
        print(
            f"\n{threads} {'thread' if threads == 1 else 'threads'}\n\n{markdown(table, names=2)}"
        )


if __name__ == "__main__":
    main()
