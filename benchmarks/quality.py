"""Measure how many walks of a folder pass the quality check: `python benchmarks/quality.py FOLDER`.

FOLDER is a tree that `metagait enroll` accepts, for instance CASIA-A or CASIA-B silhouettes. Prints
the share that passes, how often each fault was found, and the distribution of every measure.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from model.quality import Observer, Quality
from model.silhouettes import align
from service.client.walk_files import FILES, PICTURES
from service.limits import Limits
from service.uploads import Upload, frames_of

LIMITS = Limits(
    upload_bytes=2**30, frames=100_000, frame_pixels=3840 * 2160, walk_pixels=50_000_000_000
)
_MEASURES = ("frames", "empty", "truncated", "rows", "other_bodies", "grey", "duplicates", "rhythm")


def walks(folder: Path) -> Iterator[Upload]:
    """Yield the walks: files that hold one walk each, and folders of pictures."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in FILES:
            yield Upload(sequence=BytesIO(path.read_bytes()))
        elif path.is_dir():
            pictures = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
            if pictures:
                yield Upload(frames=tuple(BytesIO(p.read_bytes()) for p in pictures))


def measure(upload: Upload) -> Quality:
    """Measure one walk as the service does."""
    observer = Observer()
    walk = align(observer.watch(frames_of(upload, LIMITS)))
    return observer.quality(walk.silhouettes)


def main() -> int:
    """Print the table; return 1 if the folder has no walks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    qualities = [measure(upload) for upload in walks(parser.parse_args().folder)]
    if not qualities:
        print("expected a folder with walks, got none", file=sys.stderr)
        return 1
    passed = sum(not quality.faults for quality in qualities)
    print(f"{passed} of {len(qualities)} walks pass ({100 * passed / len(qualities):.1f} %)")
    for fault, count in Counter(f for q in qualities for f in q.faults).most_common():
        print(f"  {fault}: {count}")
    print(f"{'measure':<14}{'1 %':>9}{'50 %':>9}{'99 %':>9}")
    for name in _MEASURES:
        values = [v for q in qualities if (v := getattr(q, name)) is not None]
        low, middle, high = np.percentile(values, [1, 50, 99]) if values else (np.nan,) * 3
        print(f"{name:<14}{low:>9.3f}{middle:>9.3f}{high:>9.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
