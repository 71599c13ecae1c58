"""Measure how fast walks are embedded: all engines and precisions, eager torch, and the ceiling.

    python benchmarks/encode.py [--models FILE ...] [--threads 1 2] [--rounds 7] [--evaluate 20]

All rows of a table take turns, round after round, one walk per call, so that other work on the
machine affects all alike. A figure is the median over the rounds; a ratio is the median of the
ratios within the rounds. `N callers` means N concurrent calls with one thread each. `torch eager`
is the same network run the way research code does; `GaitGL` is its baseline (the same trunk without
attention and meta pooling). FLOP are counted from the network's shapes by torch's FlopCounterMode:
two per multiply-add, convolutions and matrix products only. The ceiling is the rate of the fastest
dense kernel of the same precision in the same round (benchmarks/ceilings.py); below each table is
the share of it that the convolutions alone reach (benchmarks/convolutions.py). The error is
a − b| / |b| of the embeddings, against the first model on ONNX Runtime's CPU.

`--evaluate N` embeds N subjects of the benchmark walkers with each, and reports how many points of
rank-1 the worst of NM, BG and CL (between different views) loses against that reference; anything
within 1e-4 of the reference is not evaluated and counts as losing none. `--clock processor` counts
processor time instead, for one thread on a machine that is not quiet. `--provider cuda --batch 64`
measures on a GPU, and adds what torch can do there. Compiling takes torch minutes; `--without
compiled` leaves out every row with that word in its name, except the two that ratios refer to.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import convolutions
import numpy as np
import torch
from ceilings import kernels
from contestants import BASELINE, EAGER, Contestant, Walk, of_engines, of_torch
from encode_page import TOLD, draw, page, place, section
from heats import Heat, key
from losses import points_lost, rank_one
from machine import arithmetic
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from model.config import load_config
from model.encoder import SHIPPED_MODEL, Encoder, EngineChoice, available_cpus, open_encoder
from model.network import MetaGait, NetworkConfig
from model.walkers.generate import packed_walk
from model.walkers.settings import WalkerSettings

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
AGREES = 1e-4
"""Relative error below which the nearest neighbours do not change."""


def main() -> None:
    """Run the heats, print the tables, and write the page and the picture."""
    given = parsed()
    config = load_config(given.config).network
    if not isinstance(config, NetworkConfig):
        raise SystemExit(f"expected the configuration of a MetaGait network, got {config.kind}")
    check_config(config, given.models[0])
    walks = {frames: walk_of(frames) for frames in given.frames}
    flops = {frames: flop_of(config, frames) for frames in given.frames}
    heats = []
    for threads in given.threads:
        heats.append(heat_of(given, config, walks, threads))
        heats[-1].run(given.rounds, CLOCKS[given.clock])
        if given.provider == "cpu":
            heats[-1].convolutions = convolutions.measure(given.models, threads, given.rounds)
    reference = given.models[0]
    # Uses most threads, to finish soonest; with one call at a time the result is the same.
    lost = dict(losses(heats[-1], reference, given.evaluate))
    text = section(given, command(given), heats, flops, lost)
    print(text)
    old = given.output.read_text(encoding="utf-8") if given.output.exists() else ""
    given.output.write_text(page(old, place(given.provider), text), encoding="utf-8")
    draw(heats, given.plot)


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, nargs="+", default=shipped(), metavar="FILE")
    parser.add_argument("--config", type=Path, default=Path("model/configs/walkers.yaml"))
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, available_cpus()}))
    parser.add_argument("--frames", type=int, nargs="+", default=[30, 60, 100])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=1, help="walks in a call (1)")
    parser.add_argument("--provider", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--without", nargs="+", default=[], metavar="WORD", help="leave rows out")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--evaluate", type=int, default=0, metavar="SUBJECTS")
    parser.add_argument("--output", type=Path, default=Path("docs/encode.md"))
    parser.add_argument("--plot", type=Path, help="its picture, beside the page or below")
    given = parser.parse_args(words)
    if given.plot is None:
        kind = arithmetic()[0] if given.provider == "cpu" else given.provider
        given.plot = given.output.parent / "pictures" / f"encode-{kind.lower()}.png"
    if given.clock == "processor" and max(given.threads) > 1:
        parser.error("--clock processor: expected --threads 1, the time of several adds up")
    if TOLD not in given.frames:
        parser.error(f"--frames: expected {TOLD} among them, which the ratios are told of")
    return given


def shipped() -> list[Path]:
    """List the shipped model files, the float32 one first."""
    others = sorted(set(SHIPPED_MODEL.parent.glob("*.onnx")) - {SHIPPED_MODEL})
    return [SHIPPED_MODEL, *others]


def check_config(config: NetworkConfig, model: Path) -> None:
    """Refuse to compare a model file with a network of a different shape.

    A file whose last layer is a projection has a single part, so only its input size is checked.
    """
    facts = open_encoder(model, EngineChoice(engine="onnxruntime", provider="cpu")).facts
    mine = (config.size, config.parts, config.dimensions)
    theirs = (facts.size, facts.parts, facts.dimensions)
    if mine[0] != theirs[0] or (facts.parts > 1 and mine != theirs):
        raise SystemExit(f"expected a --config of size, parts, dimensions {theirs}, got {mine}")


def walk_of(frames: int) -> Walk:
    """Return a walker's silhouettes uint8 `[frames, 64, 44]`."""
    return packed_walk(9001, "nm-01", 90, WalkerSettings(frames=frames))


def flop_of(config: NetworkConfig, frames: int) -> float:
    """Count the operations of one walk from the shapes alone, without computing anything."""
    network = MetaGait(config).eval().to("meta")
    silhouettes = torch.zeros(1, frames, *config.size, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(silhouettes, torch.zeros(1, dtype=torch.int64, device="meta"))
    return float(counter.get_total_flops())


def heat_of(
    given: argparse.Namespace, config: NetworkConfig, walks: dict[int, Walk], threads: int
) -> Heat:
    """Open every contestant and kernel that runs on this many threads."""
    contestants = [
        contestant
        for contestant in (
            *of_torch(config, torch.device(given.provider), threads),
            *of_engines(given.models, given.provider, threads),
        )
        if contestant.name in (EAGER, BASELINE)
        or not any(word in contestant.name for word in given.without)
    ]
    dense = kernels(threads) if given.provider == "cpu" else []
    return Heat(threads, contestants, dense, walks, given.batch)


def losses(
    heat: Heat, model: Path, subjects: int
) -> Iterator[tuple[str, tuple[float, float | None]]]:
    """Yield each engine's relative error, and the points of rank-1 that it loses."""
    choice = EngineChoice(engine="onnxruntime", provider="cpu", threads=heat.threads)
    reference = open_encoder(model, choice)
    walk = heat.walks[TOLD]
    (right,) = reference.encode([walk])
    for contestant in heat.contestants:
        if contestant.encoder is not None:
            error = relative(contestant.encode([walk])[0], right)
            points = None
            if subjects and contestant.callers == 1:
                points = 0.0 if error < AGREES else lost_by(contestant, reference, subjects)
            yield key(contestant), (error, points)


def lost_by(contestant: Contestant, reference: Encoder, subjects: int) -> float:
    """Return the points of rank-1 that a contestant loses; the reference is evaluated only once."""
    known, other = (rank_one(each, subjects) for each in (reference.encode, contestant.encode))
    return points_lost(known, other)


def relative(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return |a − b| / |b|; NaN if the embeddings have different lengths."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b)) if a.shape == b.shape else float("nan")


def command(given: argparse.Namespace) -> str:
    """Return the command that reproduces the page, whatever the defaults on other machines."""
    told = ("threads", "frames", "rounds", "batch", "provider", "clock", "evaluate")
    names = told if given.models == shipped() else ("models", *told)
    names += ("without",) if given.without else ()
    words = [f"--{name} {' '.join(map(str, listed(getattr(given, name))))}" for name in names]
    return " ".join(["python benchmarks/encode.py", *words])


def listed(value: object) -> list[object]:
    """Wrap a single value in a list."""
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    main()
