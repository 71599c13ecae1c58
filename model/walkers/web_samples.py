"""`python -m model.walkers.web_samples FOLDER`: writes the sample walks offered on the web page.

These are a few walkers that no training has seen, each walk as an `.npz` that the service reads
like any upload, and `index.json` for the page: the people in order, with a label for each walk.
"""

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.walkers.generate import render_walk
from model.walkers.settings import WalkerSettings

FRAMES = 40
VIEW = 72
# Chosen to show all three answers. Enrolled on Monday, Ada and Ben are found on Tuesday; Cleo with
# her bag is near but not near enough; Dan, who has only one walk, is a stranger.
PEOPLE = (
    ("Ada", 9102, {"nm-01": "Monday", "nm-05": "Tuesday"}),
    ("Ben", 9103, {"nm-01": "Monday", "nm-05": "Tuesday"}),
    ("Cleo", 9120, {"nm-01": "Monday", "bg-01": "with a bag"}),
    ("Dan", 9107, {"nm-05": "a stranger"}),
)


def write(folder: Path) -> None:
    """Write the samples; the bytes are the same on every machine and every day."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = WalkerSettings(frames=FRAMES)
    people = []
    for person, subject, walks in PEOPLE:
        listed = []
        for condition, words in walks.items():
            file = f"{person.lower()}-{condition}.npz"
            walk = _cropped(render_walk(subject, condition, VIEW, settings) > 0)
            np.savez_compressed(folder / file, silhouettes=walk)
            listed.append({"file": file, "words": words})
        people.append({"person": person, "walks": listed})
    text = json.dumps({"people": people}, indent=1)
    (folder / "index.json").write_text(text + "\n", encoding="utf-8")


def _cropped(walk: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Crop a walk `[T, H, W]` to the area that the body passes through, with a margin."""
    margin = 4
    rows, columns = (np.flatnonzero(walk.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return walk[:, top : rows[-1] + margin, left : columns[-1] + margin]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
