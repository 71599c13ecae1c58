"""The weights that ship: their file, their card, and that they know strangers apart."""

from pathlib import Path

import numpy as np
import pytest

from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.variants import LARGEST_LOSS
from model.walkers import packed_walk

CARD = (Path(SHIPPED_MODEL).parent / "README.md").read_text(encoding="utf-8")
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
REAL = ("CASIA-A, same view", "CASIA-A, two views")
UNSEEN = range(9001, 9009)


@pytest.fixture(scope="module")
def encoder() -> OnnxEncoder:
    return OnnxEncoder.open(threads=1)


def test_the_file_is_small_and_promises_something(encoder: OnnxEncoder) -> None:
    assert SHIPPED_MODEL.stat().st_size <= 25 * 1024 * 1024
    threshold = encoder.facts.threshold
    assert threshold is not None
    assert threshold.target_fpir == 0.01
    assert threshold.inconclusive_to is not None
    assert threshold.distance < threshold.inconclusive_to
    # The rule of three: a promise of 1 % needs at least 300 searches by strangers.
    assert threshold.searches >= 300


def test_the_card_is_about_this_file_and_its_threshold(encoder: OnnxEncoder) -> None:
    assert encoder.facts.threshold is not None
    assert encoder.facts.model_id in CARD
    assert f"{encoder.facts.threshold.distance:.3f}" in CARD
    assert f"{encoder.facts.threshold.inconclusive_to:.3f}" in CARD
    assert f"{encoder.facts.threshold.searches:,}" in CARD


def test_the_card_and_the_readme_say_what_was_measured_on_this_file(encoder: OnnxEncoder) -> None:
    compared = encoder.facts.comparison
    assert compared is not None
    assert compared.subjects == 50
    for name, before in compared.before.items():
        assert f"| {name} | {before:.1f} | {compared.after[name]:.1f} |" in CARD
    figures = [compared.after[name] for name in ("NM", "BG", "CL", *REAL)]
    line = " | ".join(f"{figure:.1f}" for figure in figures)
    assert f"| the weights that ship | {line} |" in README


def test_unseen_walkers_are_found_again_from_another_side(encoder: OnnxEncoder) -> None:
    known = encoder.encode([packed_walk(subject, "nm-01", 54) for subject in UNSEEN])
    asked = encoder.encode([packed_walk(subject, "nm-05", 72) for subject in UNSEEN])
    distances = np.linalg.norm(asked[:, None] - known[None], axis=2)
    hits = (distances.argmin(axis=1) == np.arange(len(UNSEEN))).mean()
    assert hits >= 0.75  # one in eight by chance


def test_the_int8_file_is_of_these_weights_and_loses_next_to_nothing(encoder: OnnxEncoder) -> None:
    integers = OnnxEncoder.open(SHIPPED_MODEL.with_name("metagait-int8.onnx"), threads=1)
    assert integers.facts.precision == "int8"
    assert integers.facts.model_id in CARD
    compared = integers.facts.comparison
    assert compared is not None
    assert compared.source == encoder.facts.model_id
    assert compared.subjects == 50
    threshold = integers.facts.threshold
    assert threshold is not None
    assert threshold.inconclusive_to is not None
    assert f"{threshold.distance:.3f}" in CARD
    assert f"{threshold.inconclusive_to:.3f}" in CARD
    for name, before in compared.before.items():
        assert compared.after[name] >= before - LARGEST_LOSS
        assert f"| {name} | {before:.2f} | {compared.after[name]:.2f} |" in CARD
    walks = [packed_walk(9001, "nm-01", 54), packed_walk(9002, "nm-05", 72)]
    moved = np.linalg.norm(integers.encode(walks) - encoder.encode(walks), axis=1)
    assert (moved > 0).all()
    assert (moved < 0.1).all()
