"""Profile exported graphs, and measure the cost of their forms and of MetaGait's parts.

    python benchmarks/graph.py --channels 16 32 64 --dimensions 64
    python benchmarks/graph.py --shares --models model/weights/metagait.onnx --frames 30 60

Exports MetaGait and its bare GaitGL trunk (no attention, max pooling) with random weights in two
forms, unless `--folder` has them from an earlier run. ONNX Runtime embeds one walk on one thread,
all graphs taking turns, and the processor times are printed as ratios to the plain MetaGait. Below
are the shares of its operations, each by its quickest run. Pin it to a CPU: `taskset -c 1 python
...`. `--shares` prints only the shares of `--models`, for every number of frames.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from model.engines import onnxruntime
from model.export import export_onnx
from model.graph import rewrite
from model.network import MetaGait, NetworkConfig

FORMS = ("plain", "winograd")
ROUNDS = 9
SMALL = 50
"""An operation that takes fewer microseconds is small."""


def graphs(folder: Path, channels: Sequence[int], dimensions: int) -> dict[str, Path]:
    """Export whatever is not in the folder yet; return all graphs by name."""
    first, second, third = channels
    full = NetworkConfig(channels=(first, second, third), dimensions=dimensions)
    trunk = NetworkConfig(channels=full.channels, dimensions=dimensions, attention=(),
                          pooling=("max",), pooling_weights="none")  # fmt: skip
    found = {}
    for name, config in (("MetaGait", full), ("trunk", trunk)):
        plain = folder / f"{name}-{first}-{dimensions}-plain.onnx"
        if not plain.exists():
            export_onnx(MetaGait(config), plain, name=name, form="plain")
        for form in FORMS:
            path = plain.with_name(plain.name.replace("plain", form))
            onnx.save(rewrite(onnx.load(plain), form), path)
            found[f"{name}, {form}"] = path
    return found


def session(path: Path, profile: Path | None = None) -> onnxruntime.InferenceSession:
    """Open a graph with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def walk(frames: int) -> dict[str, np.ndarray]:
    """Return one walk of random silhouettes as the input of a graph."""
    pixels = np.random.default_rng(0).integers(0, 2, (1, frames, 64, 44)).astype(np.uint8) * 255
    return {"silhouettes": pixels, "lengths": np.array([frames], np.int64)}


def processor_times(paths: dict[str, Path], frames: int) -> dict[str, float]:
    """Return the median processor time of each graph, all taking turns."""
    sessions = {name: session(path) for name, path in paths.items()}
    times: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(ROUNDS + 1):
        for name, opened in sessions.items():
            begin = time.process_time()
            opened.run(None, walk(frames))
            times[name].append(time.process_time() - begin)
    return {name: float(np.median(found[1:])) for name, found in times.items()}


def shares(path: Path, frames: int, folder: Path) -> tuple[Counter[str], list[int]]:
    """Return the microseconds per kind of operation and per node, each by its quickest run."""
    opened = session(path, folder / "profile")
    for _ in range(ROUNDS):
        opened.run(None, walk(frames))
    profile = Path(opened.end_profiling())
    quickest: dict[tuple[str, str], int] = {}
    for event in json.loads(profile.read_text()):
        if event["name"].endswith("_kernel_time"):
            key = (event["args"]["op_name"], event["name"])
            quickest[key] = min(event["dur"], quickest.get(key, event["dur"]))
    profile.unlink()
    total: Counter[str] = Counter()
    for (kind, _), duration in quickest.items():
        total[kind.removeprefix("Fused")] += duration
    return total, list(quickest.values())


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--channels", type=int, nargs=3, default=[32, 64, 128])
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--frames", type=int, nargs="+", default=[30, 60, 100])
    parser.add_argument("--folder", type=Path, default=Path("runs/graph"))
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="other files to profile")
    parser.add_argument("--shares", action="store_true", help="only tell those of --models")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.shares:
        for path in arguments.models:
            for frames in arguments.frames:
                print(told(path, frames, arguments.folder))
        return
    paths = graphs(arguments.folder, arguments.channels, arguments.dimensions)
    measured = [processor_times(paths, frames) for frames in arguments.frames]
    print(f"| graph | {' | '.join(f'{frames} frames' for frames in arguments.frames)} |")
    print(f"| --- |{' --: |' * len(measured)}")
    for name in paths:
        ratios = [times["MetaGait, plain"] / times[name] for times in measured]
        print(f"| {name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    for path in (*(paths[f"MetaGait, {form}"] for form in FORMS), *arguments.models):
        print(f"\n{told(path, arguments.frames[0], arguments.folder)}")


def told(path: Path, frames: int, folder: Path) -> str:
    """Return a line with the operations that take most of a graph's time."""
    found, nodes = shares(path, frames, folder)
    parts = [f"{kind} {n / found.total():.1%}" for kind, n in found.most_common(12)]
    small = [duration for duration in nodes if duration < SMALL]
    parts.append(f"{len(small)} below {SMALL} µs {sum(small) / found.total():.1%}")
    return f"{path.stem}, {frames} frames, {found.total() / 1000:.1f} ms: {', '.join(parts)}"


if __name__ == "__main__":
    main()
