"""Reports on a training: lines on the console, a log for plots, scalars for TensorBoard."""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.pieces import write_whole

PROGRESS_EVERY = 20
"""Iterations between two lines."""


@dataclass(frozen=True)
class Figures:
    """The figures of a progress line, averaged over the iterations since the last one."""

    loss: float
    triplet: float
    cross_entropy: float
    nonzero: float
    """Share of triplets that still violate the margin."""
    distance: float
    """Mean Euclidean distance within the batch."""
    contrastive: float = 0.0
    """0 if the configuration does not use it."""


class Progress:
    """Prints and logs a line every `PROGRESS_EVERY` iterations.

    Args:
        iterations: total iterations of the training.
        log: JSON lines file, with one entry per progress line.
        done: iterations already completed; log lines beyond them are dropped.
        quiet: record the figures but print and write nothing, for all but one of several processes.
        scalars: folder for TensorBoard's event files; None to write none.

    """

    def __init__(
        self,
        iterations: int,
        log: Path,
        done: int,
        *,
        quiet: bool = False,
        scalars: Path | None = None,
    ) -> None:
        self.latest: Figures | None = None
        self._iterations, self._log, self._quiet = iterations, log, quiet
        self._since, self._started = done, time.perf_counter()
        self._pending: list[Figures] = []
        self._scalars = None if quiet or scalars is None else _open_scalars(scalars, done)
        if not quiet:
            _forget_after(done, log)

    def add(self, figures: Figures, iteration: int) -> None:
        """Add the figures of one iteration; `iteration` counts from 1."""
        self._pending.append(figures)
        if iteration % PROGRESS_EVERY and iteration != self._iterations:
            return
        self.latest = _mean(self._pending)
        now = time.perf_counter()
        rate = (iteration - self._since) / max(now - self._started, 1e-9)
        self._since, self._started, self._pending = iteration, now, []
        if not self._quiet:
            self._say(self.latest, iteration, rate)

    def close(self) -> None:
        """Write out what has not reached TensorBoard yet."""
        if self._scalars is not None:
            self._scalars.close()

    def _say(self, latest: Figures, iteration: int, rate: float) -> None:
        minutes = (self._iterations - iteration) / rate / 60
        print(
            f"{iteration:>6}/{self._iterations} {rate:5.2f} it/s, {minutes:5.1f} min left, "
            f"loss {latest.loss:.4f} triplet {latest.triplet:.4f} "
            f"ce {latest.cross_entropy:.4f} contrastive {latest.contrastive:.4f} "
            f"nonzero {latest.nonzero:.3f} "
            f"distance {latest.distance:.3f}",
            flush=True,
        )
        entry = {"iteration": iteration, "rate": round(rate, 3), **asdict(latest)}
        with self._log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        if self._scalars is not None:
            for name in ("rate", *asdict(latest)):
                self._scalars.add_scalar(f"train/{name}", entry[name], iteration)


def _open_scalars(folder: Path, done: int) -> Any:
    """Return TensorBoard's writer, or print a note and return None if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("no TensorBoard scalars: expected the package tensorboard (extra `train`)")
        return None
    # Events after the checkpoint are about to be written again.
    return SummaryWriter(str(folder), purge_step=done + 1 if done else None)


def _forget_after(iteration: int, log: Path) -> None:
    """Drop log lines after the checkpoint, whose iterations are about to be repeated."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines()
        kept = "".join(f"{line}\n" for line in lines if _iteration_in(line) <= iteration)
        write_whole(kept.encode(), log)  # a full disk must not cost the lines before


def _iteration_in(line: str) -> float:
    """Return the iteration of a log line; infinity if the line was cut short by a full disk."""
    try:
        return int(json.loads(line)["iteration"])
    except ValueError:
        return math.inf


def _mean(figures: list[Figures]) -> Figures:
    names = Figures.__dataclass_fields__
    return Figures(**{n: sum(getattr(f, n) for f in figures) / len(figures) for n in names})
