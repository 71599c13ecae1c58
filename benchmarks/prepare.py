"""Measure what a walk costs before it is encoded, by form of body, as a share of the total.

    python benchmarks/prepare.py [--frames 60] [--rounds 15]

A walker in pictures of 320×240 pixels is sent as a ZIP of PNGs, as npy and packed. Decoding,
alignment (with the quality check) and encoding are done by the service's own code, frame by frame,
in turn, round after round, in one thread. Processor time is measured, so that other work on the
machine hardly matters. A figure is the median over the rounds; a share is the median of the shares,
within the rounds, of decoding + alignment + encoding. The little that HTTP and the search add would
only make it smaller. The goals are 5 % or less for a packed walk and 15 % for a ZIP of PNGs.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from serve import bodies_of

from model.encoder import SHIPPED_MODEL, EngineChoice, open_encoder
from model.quality import Bounds
from model.tables import markdown
from model.walkers.generate import render_walk
from model.walkers.settings import WalkerSettings
from service.alignment import aligned_walk
from service.limits import Limits
from service.uploads import Upload

GOALS = {"zip of PNG": 0.15, "packed": 0.05}
_LIMITS = Limits(upload_bytes=1 << 28, frames=2000, frame_pixels=1 << 22, walk_pixels=1 << 30)


class Spent(NamedTuple):
    """Processor seconds of one walk."""

    decoding: float
    aligning: float
    encoding: float

    @property
    def share(self) -> float:
        """Return the share of the total that comes before encoding."""
        return (self.decoding + self.aligning) / sum(self)


def main() -> None:
    """Print one table."""
    given = parsed()
    walk = np.stack(list(render_walk(9001, "nm-01", 90, WalkerSettings(frames=given.frames))))
    choice = EngineChoice(engine=given.engine, precision=given.precision, threads=1)
    encoder = open_encoder(given.model, choice)
    bodies = bodies_of(walk)
    spent: dict[str, list[Spent]] = {name: [] for name in bodies}
    for number in range(given.rounds + 1):
        for name, body in bodies.items():
            one = prepare(body, lambda aligned: encoder.encode([aligned]))
            if number:  # the first round is a warm-up
                spent[name].append(one)
    runs = encoder.runtime
    print(f"{given.frames} frames, {runs.engine}, {runs.precision}, one thread\n")
    print(markdown([head(), *lines(bodies, spent)]))


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "openvino"))
    parser.add_argument("--precision", default="model", choices=("model", "bfloat16"))
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


def prepare(body: bytes, encode: Callable[[NDArray[np.uint8]], object]) -> Spent:
    """Decode, align and encode one body, as the service does."""
    upload = Upload(sequence=io.BytesIO(body))
    aligned = aligned_walk(upload, _LIMITS, (64, 44), Bounds())
    began = time.process_time()
    encode(aligned.walk.silhouettes)
    encoding = time.process_time() - began
    aligning = aligned.aligning + aligned.judging
    return Spent(aligned.decoding.processor_s, aligning.processor_s, encoding)


def head() -> list[str]:
    """Return the column heads."""
    return ["body", "bytes", "decoding, ms", "alignment, ms", "encoding, ms", "before", "goal"]


def lines(bodies: dict[str, bytes], spent: dict[str, list[Spent]]) -> Iterator[list[str]]:
    """Yield a row for each form of body."""
    for name, walks in spent.items():
        share, goal = median(one.share for one in walks), GOALS.get(name)
        yield [
            name,
            f"{len(bodies[name]):,}",
            *(f"{1000 * median(one[step] for one in walks):.1f}" for step in range(3)),
            f"{share:.1%}",
            "–" if goal is None else f"≤ {goal:.0%} {'met' if share <= goal else 'missed'}",
        ]


if __name__ == "__main__":
    main()
