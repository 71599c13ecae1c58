"""How fast walks are embedded: every engine and precision, beside eager torch and the ceiling.

    python benchmarks/encode.py [--models FILE ...] [--threads 1 2] [--rounds 7] [--evaluate 20]

Everything that is named in the table runs in turn, round after round, one walk a call, so that
whatever else the machine does meets all of them; a figure is the median of the rounds, a ratio the
median of the ratios inside the rounds. `N callers` means that many calls at a time on one thread
each. `torch eager` is the same network as research code runs it, `GaitGL` its baseline (the same
trunk without attention and meta pooling). FLOP are counted from the network's shapes by torch's
FlopCounterMode, two a multiply-add, convolutions and matrix products only; the ceiling is the rate
of the fastest dense kernel of the same precision in the same round (benchmarks/ceilings.py); what
convolutions alone reach of it stands below each table (benchmarks/convolutions.py). The error is
|a − b| / |b| of the embeddings against the first model on ONNX Runtime's CPU.

`--evaluate N` embeds N subjects of the benchmark walkers with each, and says how many points of
rank-1 (NM, BG, CL between different views) the worst of the three loses against that reference;
what agrees with it within 1e-4 is not asked and loses none.
`--clock processor` counts processor time instead, for one thread on a machine that is not quiet.
`--provider cuda --batch 64` does the same on a GPU, with what torch can do there beside.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import convolutions
import numpy as np
import torch
from ceilings import Kernel, kernels
from contestants import BASELINE, EAGER, Contestant, Walk, of_engines, of_torch
from losses import one_search, points_lost, rank_one
from machine import processors
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from model.config import load_config
from model.encoder import SHIPPED_MODEL, Encoder, EngineChoice, available_cpus, open_encoder
from model.network import MetaGait, NetworkConfig
from model.plots.style import colour, drawing, save
from model.tables import markdown
from model.walkers.generate import packed_walk
from model.walkers.settings import WalkerSettings

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
TOLD = 60
"""Frames of the walk whose GFLOP/s, ceiling and ratios stand in the table."""
AGREES = 1e-4
"""Relative error below which the nearest neighbours stay what they are."""


@dataclass
class Heat:
    """Contestants and kernels on so many threads, and the seconds that each took in each round."""

    threads: int
    contestants: list[Contestant]
    kernels: list[Kernel]
    walks: dict[int, Walk]
    batch: int
    seconds: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    ceilings: dict[str, list[float]] = field(default_factory=dict)
    convolutions: list[list[str]] = field(default_factory=list)
    """Rows of `benchmarks/convolutions.py`."""

    def run(self, rounds: int, clock: Callable[[], float]) -> None:
        """Let all of them run in turn; the first round only warms up."""
        with ThreadPoolExecutor(max(c.callers for c in self.contestants)) as callers:
            for number in range(rounds + 1):
                rates = self._rates(clock)
                took = dict(self._times(callers, clock))
                if number:
                    for precision, rate in rates.items():
                        self.ceilings.setdefault(precision, []).append(rate)
                    for what, seconds in took.items():
                        self.seconds.setdefault(what, []).append(seconds)

    def rate(self, contestant: Contestant, frames: int) -> float:
        """Walks a second: the median of the rounds."""
        return contestant.callers * self.batch / median(self.seconds[key(contestant), frames])

    def ratio(self, contestant: Contestant, to: str, frames: int) -> float:
        """Return how many times as many walks a second as another: the median of the rounds."""
        mine, other = (self.seconds[name, frames] for name in (key(contestant), f"{to}, float32"))
        return median(contestant.callers * b / a for a, b in zip(mine, other, strict=True))

    def of_ceiling(self, contestant: Contestant, flop: float, frames: int) -> float | None:
        """Share of the ceiling of its precision, the median of the rounds; None without one."""
        if contestant.precision not in self.ceilings:
            return None
        work = contestant.callers * self.batch * flop
        took, rates = self.seconds[key(contestant), frames], self.ceilings[contestant.precision]
        return median(work / s / rate for s, rate in zip(took, rates, strict=True))

    def _rates(self, clock: Callable[[], float]) -> dict[str, float]:
        """Operations a second of the fastest kernel of each precision."""
        rates: dict[str, float] = {}
        for kernel in self.kernels:
            rate = kernel.flop / seconds_of(kernel.run, clock)
            rates[kernel.precision] = max(rate, rates.get(kernel.precision, 0))
        return rates

    def _times(
        self, callers: ThreadPoolExecutor, clock: Callable[[], float]
    ) -> Iterator[tuple[tuple[str, int], float]]:
        for contestant in self.contestants:
            for frames, walk in self.walks.items():
                calls = partial(self._calls, callers, contestant, walk)
                yield (key(contestant), frames), seconds_of(calls, clock)

    def _calls(self, callers: ThreadPoolExecutor, contestant: Contestant, walk: Walk) -> None:
        walks = [walk] * self.batch
        if contestant.callers == 1:
            contestant.encode(walks)
        else:
            list(callers.map(contestant.encode, [walks] * contestant.callers))


def key(contestant: Contestant) -> str:
    """Name and precision, which together are unique in a heat."""
    return f"{contestant.name}, {contestant.precision}"


def main() -> None:
    """Run the heats, print the tables, and write them and the picture."""
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
    # On the most threads, which is soonest done; one call at a time gives the same on any number.
    lost = dict(losses(heats[-1], reference, given.evaluate))
    text = document(given, heats, flops, lost)
    print(text)
    given.output.write_text(text + "\n", encoding="utf-8")
    draw(heats, given.plot)


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, nargs="+", default=shipped(), metavar="FILE")
    parser.add_argument("--config", type=Path, default=Path("model/configs/walkers.yaml"))
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, available_cpus()}))
    parser.add_argument("--frames", type=int, nargs="+", default=[30, 60, 100])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=1, help="walks in a call (1)")
    parser.add_argument("--provider", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--evaluate", type=int, default=0, metavar="SUBJECTS")
    parser.add_argument("--output", type=Path, default=Path("docs/encode.md"))
    parser.add_argument("--plot", type=Path, default=Path("docs/pictures/encode.png"))
    given = parser.parse_args(words)
    if given.clock == "processor" and max(given.threads) > 1:
        parser.error("--clock processor: expected --threads 1, the time of several adds up")
    if TOLD not in given.frames:
        parser.error(f"--frames: expected {TOLD} among them, which the ratios are told of")
    return given


def shipped() -> list[Path]:
    """List the model files that ship, the float32 one first."""
    others = sorted(set(SHIPPED_MODEL.parent.glob("*.onnx")) - {SHIPPED_MODEL})
    return [SHIPPED_MODEL, *others]


def check_config(config: NetworkConfig, model: Path) -> None:
    """Refuse to compare a model file with a network of another shape.

    A file whose last layer is a projection has one part of its own; its size is all it tells.
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
    """Count the operations of one walk from the shapes alone: nothing is computed."""
    network = MetaGait(config).eval().to("meta")
    silhouettes = torch.zeros(1, frames, *config.size, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(silhouettes, torch.zeros(1, dtype=torch.int64, device="meta"))
    return float(counter.get_total_flops())


def heat_of(
    given: argparse.Namespace, config: NetworkConfig, walks: dict[int, Walk], threads: int
) -> Heat:
    """Open everything that runs on so many threads."""
    contestants = [
        *of_torch(config, torch.device(given.provider), threads),
        *of_engines(given.models, given.provider, threads),
    ]
    dense = kernels(threads) if given.provider == "cpu" else []
    return Heat(threads, contestants, dense, walks, given.batch)


def seconds_of(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Time one call, to its end on a GPU as well: an embedding comes back to the CPU."""
    started = clock()
    work()
    return clock() - started


def losses(
    heat: Heat, model: Path, subjects: int
) -> Iterator[tuple[str, tuple[float, float | None]]]:
    """Yield the relative error of each engine, and the points of rank-1 that it loses."""
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
    """Points of rank-1 that a contestant loses; the reference is asked once for all."""
    known, other = (rank_one(each, subjects) for each in (reference.encode, contestant.encode))
    return points_lost(known, other)


def relative(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """|a − b| / |b|; not a number where the embeddings have different lengths."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b)) if a.shape == b.shape else float("nan")


def document(
    given: argparse.Namespace,
    heats: Sequence[Heat],
    flops: dict[int, float],
    lost: dict[str, tuple[float, float | None]],
) -> str:
    """Write the whole page."""
    counted = ", ".join(f"{frames} frames {flop / 1e9:.2f}" for frames, flop in flops.items())
    place = processors() if given.provider == "cpu" else torch.cuda.get_device_name()
    parts = [
        "# Speed of the encoder",
        f"`{command(given)}`, {datetime.now(UTC):%d %B %Y}, {place}. Written by that command; "
        f"the script says how each column comes about. GFLOP of a walk: {counted}; ratios, "
        f"GFLOP/s and ceiling are of {TOLD} frames, {given.batch} "
        f"{'walk' if given.batch == 1 else 'walks'} a call." + measured_on(given.evaluate),
        f"![Walks a second beside eager torch]({given.plot.relative_to(given.output.parent)})",
    ]
    for heat in heats:
        parts += [f"## {heat.threads} {'thread' if heat.threads == 1 else 'threads'}"]
        parts += [markdown(table(heat, flops[TOLD], lost), names=2), ceilings_in_words(heat)]
        if heat.convolutions:
            parts += [markdown([convolutions.HEAD, *heat.convolutions], names=2)]
    return "\n\n".join(parts)


def command(given: argparse.Namespace) -> str:
    """Say how the page is made again, whatever the defaults are on another machine."""
    told = ("threads", "frames", "rounds", "batch", "provider", "clock", "evaluate")
    names = told if given.models == shipped() else ("models", *told)
    words = [f"--{name} {' '.join(map(str, listed(getattr(given, name))))}" for name in names]
    return " ".join(["python benchmarks/encode.py", *words])


def listed(value: object) -> list[object]:
    """Take what stands alone for a list of one."""
    return value if isinstance(value, list) else [value]


def measured_on(subjects: int) -> str:
    """Say how coarse the last column is."""
    if not subjects:
        return ""
    return (
        f" Rank-1 is of {subjects} benchmark walkers, where one search of BG or CL is "
        f"{one_search(subjects):.2f} points."
    )


def table(heat: Heat, flop: float, lost: dict[str, tuple[float, float | None]]) -> list[list[str]]:
    """Lay out head and rows of one heat."""
    spans = list(heat.walks)
    head = ["what", "precision", *(f"walks/s, {frames}" for frames in spans), "GFLOP/s"]
    head += ["of ceiling", "× eager", "× GaitGL eager", "error", "rank-1 lost, points"]
    return [head, *(line(heat, contestant, flop, lost) for contestant in heat.contestants)]


def line(
    heat: Heat, contestant: Contestant, flop: float, lost: dict[str, tuple[float, float | None]]
) -> list[str]:
    """Lay out one row; GaitGL's operations were not counted, so it has no GFLOP/s."""
    rate = heat.rate(contestant, TOLD)
    share = heat.of_ceiling(contestant, flop, TOLD)
    counted = contestant.name != BASELINE
    error, points = lost.get(key(contestant), (None, None))
    return [
        contestant.name,
        contestant.precision,
        *(f"{heat.rate(contestant, frames):.1f}" for frames in heat.walks),
        f"{rate * flop / 1e9:.0f}" if counted else "–",
        f"{share:.0%}" if counted and share is not None else "–",
        f"{heat.ratio(contestant, EAGER, TOLD):.2f}",
        f"{heat.ratio(contestant, BASELINE, TOLD):.2f}",
        "–" if error is None else f"{error:.0e}",
        "–" if points is None else f"{points:+.1f}",
    ]


def ceilings_in_words(heat: Heat) -> str:
    """Name the ceilings of a heat."""
    if not heat.ceilings:
        return "No ceiling was measured on a GPU."
    rates = (f"{name} {median(rates) / 1e9:.0f}" for name, rates in heat.ceilings.items())
    return f"Ceilings, GFLOP/s: {', '.join(rates)}."


def draw(heats: Sequence[Heat], path: Path) -> None:
    """Draw walks a second against eager torch, a bar for each contestant."""
    bars = max(len(heat.contestants) for heat in heats)
    with drawing(len(heats), 1, 0.8 + len(heats) * (0.5 + 0.28 * bars)) as (figure, axes):
        for axis, heat in zip(axes[:, 0], heats, strict=True):
            rows = list(reversed(heat.contestants))
            ratios = [heat.ratio(contestant, EAGER, TOLD) for contestant in rows]
            precisions = sorted({contestant.precision for contestant in rows})
            colours = [colour(precisions.index(contestant.precision)) for contestant in rows]
            drawn = axis.barh([key(c) for c in rows], ratios, color=colours)
            axis.bar_label(drawn, fmt="%.1f", padding=3, fontsize=9)
            axis.set_xlabel(f"× eager torch, {heat.threads} thread(s), {TOLD} frames")
            axis.margins(x=0.12)
        save(figure, path)


if __name__ == "__main__":
    main()
