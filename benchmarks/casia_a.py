"""Rank-1 on CASIA Dataset A: 20 real people, three views, four passes each.

    python benchmarks/casia_a.py FOLDER [MODEL.onnx]

FOLDER holds `<subject>/<view>_<pass>.zip` of PNG silhouettes. Same view: gallery passes 1 and 2,
probe passes 3 and 4. Two views: gallery all passes of one, probe all of the other. Beside the model
stands the nearest neighbour of gait energy images, which learns nothing. The data are licensed for
research only and are not part of this repository.
"""

import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.gei import gait_energy_image
from model.silhouettes import align

VIEWS = ("00", "45", "90")
CROSS = (("00", "45"), ("45", "00"), ("45", "90"), ("90", "45"), ("00", "90"))
Embeddings = dict[tuple[str, str, int], NDArray[np.float32]]


def walks(folder: Path) -> Iterator[tuple[tuple[str, str, int], NDArray[np.uint8]]]:
    """Yield every walk of the set, aligned, under (subject, view, pass)."""
    for path in sorted(folder.glob("*/*_*.zip")):
        view, number = path.stem.split("_")
        with zipfile.ZipFile(path) as archive:
            pictures = [archive.read(name) for name in sorted(archive.namelist())]
        decoded = [cv2.imdecode(np.frombuffer(p, np.uint8), cv2.IMREAD_GRAYSCALE) for p in pictures]
        yield (path.parent.name, view, int(number)), align(decoded).silhouettes


def rank_1(
    embeddings: Embeddings, gallery: tuple[str, tuple[int, ...]], probe: tuple[str, tuple[int, ...]]
) -> float:
    """Percent of probes whose nearest gallery walk is of the same subject."""
    known = [
        (key, e) for key, e in embeddings.items() if key[1] == gallery[0] and key[2] in gallery[1]
    ]
    asked = [(key, e) for key, e in embeddings.items() if key[1] == probe[0] and key[2] in probe[1]]
    matrix = np.stack([e for _, e in known])
    hits = 0
    for key, embedding in asked:
        nearest = int(np.argmin(np.linalg.norm(matrix - embedding, axis=1)))
        hits += known[nearest][0][0] == key[0]
    return 100 * hits / len(asked)


def row(label: str, embeddings: Embeddings) -> str:
    """Return one line of the table."""
    same = [rank_1(embeddings, (v, (1, 2)), (v, (3, 4))) for v in VIEWS]
    cross = [rank_1(embeddings, (g, (1, 2, 3, 4)), (p, (1, 2, 3, 4))) for g, p in CROSS]
    figures = [*same, float(np.mean(same)), *cross, float(np.mean(cross))]
    return f"| {label} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |"


def table(
    folder: Path, encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]], name: str
) -> str:
    """Return the whole table as markdown."""
    loaded = dict(walks(folder))
    head = ["", *VIEWS, "mean", *(f"{g}→{p}" for g, p in CROSS), "mean"]
    energy = {key: gait_energy_image(walk) for key, walk in loaded.items()}
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines.append(row("GEI nearest neighbour", energy))
    lines.append(row(name, {key: encode(walk) for key, walk in loaded.items()}))
    return "\n".join(lines)


def main() -> None:
    """Print the table for one model."""
    model = Path(sys.argv[2]) if len(sys.argv) > 2 else SHIPPED_MODEL
    encoder = OnnxEncoder.open(model)
    print(table(Path(sys.argv[1]), lambda walk: encoder.encode([walk])[0], encoder.facts.model_id))


if __name__ == "__main__":
    main()
