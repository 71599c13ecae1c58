"""Compare the speed of two services: one with given settings, one without.

    python benchmarks/pair.py METAGAIT_MODE=throughput [--callers 1 16] [--rounds 7] [--seconds 4]

Both run all the time, one idle while the other is measured, so that other work on the machine
affects both. The order alternates between rounds, and the first round is a warm-up. A figure is the
median over the rounds; a ratio, with to without, is the median of the ratios within them.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from machine import processors
from raw import Timed
from serve import Cell, bodies_of, served
from serving import Server, identify, serving, shipped_walk

from model.encoder import available_cpus
from model.tables import markdown

Pair = tuple[Timed, Timed]
"""One round: without the settings, and with them."""
HEAD = [
    "body",
    "callers",
    "walks/s without",
    "× with",
    "median ms without",
    "× with",
    "× processor",
]


def main() -> None:
    """Print one table."""
    given = parsed()
    bodies = bodies_of(shipped_walk(given.frames))
    shared = {"METAGAIT_THREADS": str(given.threads), "METAGAIT_QUEUE_TIMEOUT_S": "300"}
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        serving(Path(one), shared) as without,
        serving(Path(other), shared | given.settings) as having,
    ):
        rounds = measured((without, having), bodies, given)
    asked = " ".join(f"{name}={value}" for name, value in given.settings.items())
    print(f"{asked}, {processors()}, {given.threads} encoder threads, {given.frames} frames\n")
    print(markdown([HEAD, *lines(rounds)], names=1))


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("settings", type=setting, nargs="+", metavar="METAGAIT_NAME=VALUE")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16], help="at once")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4, help="length of a round")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--threads", type=int, default=available_cpus())
    given = parser.parse_args(words)
    given.settings = dict(given.settings)
    return given


def setting(word: str) -> tuple[str, str]:
    """Parse `NAME=VALUE`; refuse a name in the environment, which would affect both services."""
    name, equals, value = word.partition("=")
    if not equals or not name.startswith("METAGAIT_"):
        raise argparse.ArgumentTypeError(f"expected METAGAIT_NAME=VALUE, got {word!r}")
    if name in os.environ:
        raise argparse.ArgumentTypeError(f"expected {name} not to be set here already")
    return name, value


def measured(
    servers: tuple[Server, Server], bodies: Mapping[str, bytes], given: argparse.Namespace
) -> dict[Cell, list[Pair]]:
    """Measure both services in turn, for each form of body and number of callers."""
    rounds: dict[Cell, list[Pair]] = {}
    for number in range(given.rounds + 1):
        for callers in given.callers:
            for body, content in bodies.items():
                order = servers if number % 2 else servers[::-1]
                took = [served(s, identify(content), callers, given.seconds) for s in order]
                if number:
                    without, having = took if number % 2 else took[::-1]
                    rounds.setdefault((body, callers), []).append((without, having))
    return rounds


def lines(rounds: Mapping[Cell, Sequence[Pair]]) -> Iterator[list[str]]:
    """Yield a row for each form of body and number of callers."""
    for (body, callers), pairs in rounds.items():
        figures: list[Callable[[Timed], float]] = [
            lambda timed: timed.rate,
            lambda timed: 1000 * timed.median,
            lambda timed: timed.cost,
        ]
        rate, wait, _ = (median(figure(without) for without, _ in pairs) for figure in figures)
        more, longer, dearer = (
            median(figure(having) / figure(without) for without, having in pairs)
            for figure in figures
        )
        told = [f"{rate:.1f}", f"{more:.2f}", f"{wait:.0f}", f"{longer:.2f}", f"{dearer:.2f}"]
        yield [body, str(callers), *told]


if __name__ == "__main__":
    main()
