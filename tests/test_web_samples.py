"""The walkers that the page offers: made by a command, read like any upload, told apart."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery import Candidate
from model.encoder import OnnxEncoder
from model.silhouettes import align
from model.walkers.web_samples import FRAMES, PEOPLE, write
from service.decision import decide, in_force
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


def test_the_weights_that_ship_give_all_three_answers() -> None:
    encoder = OnnxEncoder.open(threads=1)
    embedded = {key: encoder.encode([read(file)])[0] for key, file in walks().items()}
    encoder.close()
    enrolled = {who: e for (who, words), e in embedded.items() if words == "Monday"}
    threshold = in_force(None, encoder.facts.threshold, gallery_size=3, aggregation="nearest")
    answers = {}
    for key, probe in embedded.items():
        near = sorted((float(np.linalg.norm(probe - e)), who) for who, e in enrolled.items())
        candidates = [Candidate(1, who, distance, "x") for distance, who in near]
        answers[key] = (near[0][1], decide(candidates, threshold).answer)
    assert answers["Ada", "Tuesday"] == ("Ada", "match")
    assert answers["Ben", "Tuesday"] == ("Ben", "match")
    assert answers["Cleo", "with a bag"] == ("Cleo", "inconclusive")
    assert answers["Dan", "a stranger"][1] == "no_match"
