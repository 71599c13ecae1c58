"""Measure whether 8-bit integers saturate on this processor, and how that changes embeddings.

    python benchmarks/saturation.py [--walks 40] [--model model/weights/metagait-int8.onnx]

Without VNNI, ONNX Runtime adds two products of 8-bit numbers in 16 bits, which may overflow. It
also has slower kernels that cannot saturate, `session.x64quantprecision`. Benchmark walkers of
every condition and view are embedded by the float32 file, by the int8 file as a service runs it,
and by those kernels, in turn in one thread. The output is |a − b| / |b| of the embeddings, how many
walks differ at all, and processor time as the median of the ratios to float32.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from machine import processors
from numpy.typing import NDArray

from model.encoder import SHIPPED_MODEL
from model.engines import onnxruntime
from model.manifest import read_model
from model.tables import markdown
from model.walkers import CONDITIONS, VIEWS
from model.walkers.generate import packed_walk
from model.walkers.settings import WalkerSettings

FLOAT, SERVED, EXACT = "float32", "int8", "int8, cannot saturate"
FIRST, FRAMES = 9001, 40
HEAD = ["|a − b| / |b|", "mean", "largest", "walks that differ"]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--walks", type=int, default=40)
    parser.add_argument("--source", type=Path, default=SHIPPED_MODEL)
    shipped = SHIPPED_MODEL.with_name("metagait-int8.onnx")
    parser.add_argument("--model", type=Path, default=shipped)
    given = parser.parse_args()
    sessions = {
        FLOAT: session(given.source),
        SERVED: session(given.model),
        EXACT: session(given.model, exact=True),
    }
    made: dict[str, list[NDArray[np.float32]]] = {name: [] for name in sessions}
    took: dict[str, list[float]] = {name: [] for name in sessions}
    for walk in walks(given.walks):
        for name, opened in sessions.items():
            began = time.process_time()
            made[name].append(embedded(opened, walk))
            took[name].append(time.process_time() - began)
    print(f"{processors()}, {given.walks} walks of {FRAMES} frames\n")
    found = {name: np.stack(embeddings) for name, embeddings in made.items()}
    pairs = ((SERVED, FLOAT), (EXACT, FLOAT), (SERVED, EXACT))
    print(markdown([HEAD, *(line(f"{a} – {b}", found[a], found[b]) for a, b in pairs)]))
    print("\nProcessor time, of that of float32: " + ", ".join(
        f"{name} {np.median(np.divide(took[name], took[FLOAT])):.2f}" for name in (SERVED, EXACT)
    ))  # fmt: skip


def session(path: Path, *, exact: bool = False) -> onnxruntime.InferenceSession:
    """Open a file in one thread; `exact` selects the kernels that cannot saturate."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", str(int(exact)))
    return onnxruntime.InferenceSession(
        read_model(path), options, providers=["CPUExecutionProvider"]
    )


def walks(count: int) -> Iterator[NDArray[np.uint8]]:
    """Yield `count` walks uint8 `[T, 64, 44]`, varying people, conditions and views."""
    for number in range(count):
        condition = CONDITIONS[3 * number % len(CONDITIONS)]
        view = VIEWS[number % len(VIEWS)]
        yield packed_walk(FIRST + number, condition, view, WalkerSettings(frames=FRAMES))


def embedded(opened: onnxruntime.InferenceSession, walk: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed one walk."""
    given = {"silhouettes": walk[None], "lengths": np.array([len(walk)], np.int64)}
    return np.asarray(opened.run(None, given)[0], np.float32).reshape(-1)


def line(name: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> list[str]:
    """Return a row on how far apart embeddings `[walks, P*D]` are."""
    apart = np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)
    differ = f"{np.count_nonzero(apart)} of {len(apart)}"
    return [name, f"{apart.mean():.2%}", f"{apart.max():.2%}", differ]


if __name__ == "__main__":
    main()
