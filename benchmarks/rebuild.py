"""Compare the speed of a rebuild with the raw encoder, in one run on one machine.

    python benchmarks/rebuild.py [--walks 64] [--rounds 3] [--threads 1] [--batch 16]

Enrols walks of 30 to 70 frames in a gallery in a temporary folder, as embedded by another model.
Every rebuild follows a raw round, in which the same encoder with the same threads embeds the same
walks, already decoded and sorted by length, in batches of the same size. So the ratio of the two
rates is valid even on a machine whose speed varies. A rebuild is timed as a whole: reading,
unpacking, writing, the check and the switch. The ratio of processor seconds is printed too: other
programs disturb it less, but work that runs next to the encoder on another core counts as a loss.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from serving import shipped_walk

from gallery import Gallery
from gallery.next_generation import drop_others, roll_back
from gallery.rebuild import rebuild
from gallery.store import Store
from model.encoder import OnnxEncoder
from model.silhouettes import align

_FILES = ("ada-nm-01.npz", "ben-nm-01.npz", "cleo-nm-01.npz", "dan-nm-05.npz")
_SHORTEST, _LONGEST = 30, 70

Walks = Sequence[NDArray[np.uint8]]


def made_up_walks(count: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Return walks uint8 `[T_i, H, W]` of different lengths, no two the same."""
    generator = np.random.default_rng(11)
    whole = [align(shipped_walk(_LONGEST, file), size).silhouettes for file in _FILES]
    lengths = generator.integers(_SHORTEST, _LONGEST + 1, count)
    return [
        np.roll(whole[place % len(whole)], place // len(whole), axis=0)[:length]
        for place, length in enumerate(lengths)
    ]


def enrol(folder: Path, walks: Walks) -> None:
    """Enrol every walk as a subject, by a model that the rebuild will replace."""
    with closing(Gallery.open(folder, model_id="before-0", embedding_length=1)) as gallery:
        for place, walk in enumerate(walks):
            embedding = np.array([place], np.float32)
            gallery.enroll(f"p{place}", embedding, silhouettes=walk)


class Seconds(NamedTuple):
    """The wall-clock and processor time of one call."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Seconds:
    """Time one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def encode_all(encoder: OnnxEncoder, walks: Walks, batch: int) -> None:
    """Embed already decoded walks, grouped by similar length."""
    ordered = sorted(walks, key=len)
    for start in range(0, len(ordered), batch):
        encoder.encode(ordered[start : start + batch])


def main() -> None:
    """Print the rates of each round, and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("walks", 64), ("rounds", 3), ("threads", 1), ("batch", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    encoder = OnnxEncoder.open(threads=given.threads)
    walks = made_up_walks(given.walks, encoder.facts.size)
    encoder.encode(walks[: given.batch])
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        enrol(Path(folder), walks)
        with closing(Store.open(folder)) as store:
            for number in range(given.rounds):
                raw = timed(lambda: encode_all(encoder, walks, given.batch))
                whole = timed(lambda: rebuild(store, encoder, batch=given.batch))
                rounds.append((raw.wall / whole.wall, raw.cpu / whole.cpu))
                print(_round(number + 1, len(walks), raw, whole), flush=True)
                roll_back(store)
                drop_others(store)
    by_clock, by_cpu = (statistics.median(ratios) for ratios in zip(*rounds, strict=True))
    print(f"median ratio of {given.rounds} rounds: {by_clock:.3f}, of CPU seconds {by_cpu:.3f}")


def _round(number: int, walks: int, raw: Seconds, whole: Seconds) -> str:
    return (
        f"round {number}: raw {walks / raw.wall:.2f}, rebuild {walks / whole.wall:.2f} walks/s, "
        f"ratio {raw.wall / whole.wall:.3f}; CPU {raw.cpu:.1f} s, {whole.cpu:.1f} s, "
        f"ratio {raw.cpu / whole.cpu:.3f}"
    )


if __name__ == "__main__":
    main()
