"""Measure the start-up time: from the command to a ready service, and to the first answer.

    python benchmarks/start.py [--rounds 5] [--model FILE] [--provider cpu] [--engine auto]

Each round starts `metagait serve` with an empty gallery on a free loopback port, polls until it is
ready, and lets it identify one packed walk of a length that the engine has not seen. The first
round reads libraries from the disk; the others find them in memory, as after a restart. The goal is
an answer within ten seconds.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from machine import processors
from serving import Connection, identify, serving, shipped_walk

from model.encoder import SHIPPED_MODEL
from model.tables import markdown
from service.packed import pack

GOAL_S = 10
HEAD = ["start", "ready, s", "first answer, s", "goal"]


class Start(NamedTuple):
    """Seconds since the command was started."""

    ready: float
    answered: float


def main() -> None:
    """Print one table."""
    given = parsed()
    environment = {
        "METAGAIT_MODEL": str(given.model),
        "METAGAIT_PROVIDER": given.provider,
        "METAGAIT_ENGINE": given.engine,
    }
    starts = [start(environment, given.frames) for _ in range(given.rounds)]
    print(
        f"{given.model.name}, {given.engine}, {given.provider}, {given.frames} frames, "
        f"{processors()}\n"
    )
    print(markdown([HEAD, *rows(starts)], names=1))


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="ONNX model file")
    parser.add_argument("--provider", default="auto", help="cpu, cuda, tensorrt or auto")
    parser.add_argument("--engine", default="auto", help="onnxruntime, openvino or auto")
    return parser.parse_args(words)


def start(environment: dict[str, str], frames: int) -> Start:
    """Start a service, send one request, and stop it."""
    request = identify(pack(shipped_walk(frames)))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), environment) as server:
        ready = time.perf_counter() - began
        status, body = Connection(server.port).send(request)
        answered = time.perf_counter() - began
    if status != 200:
        raise RuntimeError(f"expected 200, got {status}: {body[:200]!r}")
    return Start(ready, answered)


def rows(starts: Sequence[Start]) -> list[list[str]]:
    """Return a row for the first start, and one for the median of the others."""
    first, *others = starts
    found = {"the first": first}
    if others:
        ready, answered = (median(seconds) for seconds in zip(*others, strict=True))
        found[f"median of {len(others)} more"] = Start(ready, answered)
    return [
        [
            name,
            f"{one.ready:.1f}",
            f"{one.answered:.1f}",
            f"≤ {GOAL_S} s {'met' if one.answered <= GOAL_S else 'missed'}",
        ]
        for name, one in found.items()
    ]


if __name__ == "__main__":
    main()
