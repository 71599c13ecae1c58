"""The walkers that the page offers: made by a command, read like any upload, told apart."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.encoder import OnnxEncoder
from model.silhouettes import align
from model.walkers.web_samples import FRAMES, PEOPLE, write
from service.limits import Limits
from service.routes.page import WEB
from service.uploads import Upload, frames_of

SAMPLES = WEB / "samples"
LIMITS = Limits(upload_bytes=10**6, frames=100, frame_pixels=10**5, walk_pixels=10**7)


def read(file: str) -> NDArray[np.uint8]:
    with (SAMPLES / file).open("rb") as opened:
        return align(frames_of(Upload(sequence=opened), LIMITS)).silhouettes


def walks() -> dict[tuple[str, str], str]:
    index = json.loads((SAMPLES / "index.json").read_text(encoding="utf-8"))
    return {(one["person"], w["words"]): w["file"] for one in index["people"] for w in one["walks"]}


def test_the_command_makes_the_files_that_ship(tmp_path: Path) -> None:
    write(tmp_path)
    shipped = {path.name: path.read_bytes() for path in SAMPLES.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == set(shipped)
    assert (tmp_path / "index.json").read_bytes() == shipped["index.json"]
    for file in walks().values():
        with np.load(tmp_path / file) as made, np.load(SAMPLES / file) as kept:
            np.testing.assert_array_equal(made["silhouettes"], kept["silhouettes"])


def test_they_are_small_and_whole() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 200_000
    assert len(walks()) == sum(len(person[2]) for person in PEOPLE)
    assert {len(read(file)) for file in walks().values()} == {FRAMES}


def test_the_weights_that_ship_tell_them_apart() -> None:
    encoder = OnnxEncoder.open(threads=1)
    embedded = {key: encoder.encode([read(file)])[0] for key, file in walks().items()}
    enrolled = {who: e for (who, words), e in embedded.items() if words == "Monday"}
    assert encoder.facts.threshold is not None
    for (who, words), probe in embedded.items():
        distances = {other: float(np.linalg.norm(probe - e)) for other, e in enrolled.items()}
        if who in enrolled:
            assert min(distances, key=distances.__getitem__) == who, (who, words)
        else:
            assert min(distances.values()) > encoder.facts.threshold.distance
    encoder.close()
