"""Measure the processor time per walk when one encoder call embeds several walks.

    python benchmarks/calls.py [--frames 20 30 60] [--walks 1 2 4 8] [--rounds 5]

Calls of all sizes take turns, round after round, on one thread. A figure is the median over the
rounds; a ratio is the median, over the rounds, of the ratio to the first size, by default one walk.
"""

import argparse
import time
from pathlib import Path
from statistics import median

from machine import processors

from model.encoder import SHIPPED_MODEL, EngineChoice, open_encoder
from model.tables import markdown
from model.walkers.generate import packed_walk
from model.walkers.settings import WalkerSettings


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--frames", type=int, nargs="+", default=[20, 30, 60])
    parser.add_argument("--walks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    encoder = open_encoder(given.model, EngineChoice(engine="onnxruntime", threads=1))
    rows = []
    for frames in given.frames:
        walk = packed_walk(9001, "nm-01", 90, WalkerSettings(frames=frames))
        took: dict[int, list[float]] = {walks: [] for walks in given.walks}
        for number in range(given.rounds + 1):
            for walks, seconds in took.items():
                began = time.process_time()
                encoder.encode([walk] * walks)
                if number:  # the first round is a warm-up
                    seconds.append((time.process_time() - began) / walks)
        alone = took[given.walks[0]]
        for walks, seconds in took.items():
            ratio = median(a / b for a, b in zip(seconds, alone, strict=True))
            rows.append([f"{frames}", f"{walks}", f"{1000 * median(seconds):.0f}", f"{ratio:.2f}"])
    print(f"{processors()}, {encoder.runtime.engine}, one thread\n")
    head = ["frames", "walks a call", "ms a walk", f"× calls of {given.walks[0]}"]
    print(markdown([head, *rows], names=0))


if __name__ == "__main__":
    main()
