"""The page that `benchmarks/encode.py` writes: a section per machine, and its picture."""

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from os.path import relpath
from pathlib import Path
from statistics import median

import convolutions
import torch
from contestants import BASELINE, EAGER, Contestant
from heats import Heat, key
from losses import one_search
from machine import processors

from model.plots.style import colour, drawing, save
from model.tables import markdown

TOLD = 60
"""Frames of the walk whose GFLOP/s, ceiling and ratios are in the table."""
TITLE = "# Speed of the encoder"
HEAD = (
    "Walks a second of every engine and precision, beside eager torch and what the processor can "
    "do. Each section comes from one machine and is written by the command it names; sections of "
    "other machines stay as they are. Compare figures within one table only. Where a command has "
    "`--clock processor`, other work shared the core, which slows every row, though not all alike. "
    "`benchmarks/encode.py` explains each column; [performance](performance.md) says what limits "
    "them."
)

Lost = dict[str, tuple[float, float | None]]
"""Relative error of each engine, and the points of rank-1 it loses; None if not evaluated."""


def place(provider: str) -> str:
    """Return the name of the machine, which is the heading of its section."""
    return processors() if provider == "cpu" else torch.cuda.get_device_name()


def page(old: str, title: str, text: str) -> str:
    """Insert a machine's section into a page, replacing an older one of the same machine.

    Sections begin with `## `; an empty text is a page without sections.
    """
    found = re.split(r"^## (.*)\n", old, flags=re.MULTILINE)
    sections = dict(zip(found[1::2], found[2::2], strict=True))
    sections[title] = text
    parts = [TITLE, HEAD, *(f"## {name}\n\n{told.strip()}" for name, told in sections.items())]
    return "\n\n".join(parts) + "\n"


def section(
    given: argparse.Namespace, told: str, heats: Sequence[Heat], flops: dict[int, float], lost: Lost
) -> str:
    """Return the text below the machine's heading; `told` is the command."""
    picture = relpath(given.plot, given.output.parent)
    counted = ", ".join(f"{frames} frames {flop / 1e9:.2f}" for frames, flop in flops.items())
    parts = [
        f"`{told}`, {datetime.now(UTC):%d %B %Y}. GFLOP of a walk: {counted}. Ratios, "
        f"GFLOP/s and share of the ceiling are for {TOLD} frames, {given.batch} "
        f"{'walk' if given.batch == 1 else 'walks'} a call." + measured_on(given.evaluate),
        f"![Walks a second beside eager torch]({picture})",
    ]
    for heat in heats:
        parts += [f"### {heat.threads} {'thread' if heat.threads == 1 else 'threads'}"]
        parts += [markdown(table(heat, flops[TOLD], lost), names=2), ceilings_in_words(heat)]
        if heat.convolutions:
            parts += [markdown([convolutions.HEAD, *heat.convolutions], names=2)]
    return "\n\n".join(parts)


def measured_on(subjects: int) -> str:
    """Return a sentence on the resolution of the last column."""
    if not subjects:
        return ""
    return (
        f" Rank-1 is measured on {subjects} benchmark walkers, where one search of BG or CL is "
        f"{one_search(subjects):.2f} points."
    )


def table(heat: Heat, flop: float, lost: Lost) -> list[list[str]]:
    """Return the head and the rows of one heat."""
    spans = list(heat.walks)
    head = ["what", "precision", *(f"walks/s, {frames}" for frames in spans), "GFLOP/s"]
    head += ["of ceiling", "× eager", "× GaitGL eager", "error", "rank-1 lost, points"]
    return [head, *(line(heat, contestant, flop, lost) for contestant in heat.contestants)]


def line(heat: Heat, contestant: Contestant, flop: float, lost: Lost) -> list[str]:
    """Return one row; GaitGL has no GFLOP/s, as its operations were not counted."""
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
    """Return a sentence that lists the ceilings of a heat."""
    if not heat.ceilings:
        return "No ceiling was measured on a GPU."
    rates = (f"{name} {median(rates) / 1e9:.0f}" for name, rates in heat.ceilings.items())
    return f"Ceilings, GFLOP/s: {', '.join(rates)}."


def draw(heats: Sequence[Heat], path: Path) -> None:
    """Draw the walks per second relative to eager torch, a bar for each contestant."""
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
