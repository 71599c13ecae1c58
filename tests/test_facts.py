"""Facts of a model: wrong ones are refused when a file is opened, not with the first answer."""

import json
from typing import Any

import pytest

from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.facts import Comparison, ModelFacts, Threshold, TrainedOn
from model.silhouettes import PREPROCESSING_ID

FACTS = ModelFacts(
    model_id="x-" + "0" * 12,
    name="x",
    size=(64, 44),
    parts=64,
    dimensions=128,
    preprocessing_id=PREPROCESSING_ID,
    max_frames=2000,
    threshold=Threshold(0.5, 0.01, 0.1, 119, 600, "walkers", 0.6),
    comparison=Comparison("y-" + "1" * 12, {"NM": 90.0}, {"NM": 89}, 50),
    training=TrainedOn(5, ((1, 2), (4, 6)), start="demo.onnx"),
)


def with_changed(value: object, *keys: str | int) -> str:
    facts: Any = json.loads(FACTS.to_json())
    inner = facts
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return json.dumps(facts)


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (5, ("name",)),
        (None, ("precision",)),
        (10**30, ("parts",)),
        ([64.0, 44.0], ("size",)),
        ("0.01", ("threshold", "target_fpir")),
        (1.5, ("threshold", "target_fpir")),
        (float("inf"), ("threshold", "fnir")),
        (-0.1, ("threshold", "fnir")),
        (None, ("threshold", "gallery_subjects")),
        (-1, ("threshold", "searches")),
        (5, ("threshold", "source")),
        (0.4, ("threshold", "inconclusive_to")),  # below the threshold itself
        ([], ("threshold", "inconclusive_to")),
        ([], ("comparison", "before")),
        ({"NM": "90"}, ("comparison", "after")),
        ({"NM": float("nan")}, ("comparison", "after")),
        ("all", ("comparison", "kept_energy")),
        ([[1, "2"]], ("training", "walkers")),
        ([[1, 2, 3]], ("training", "walkers")),
        (5, ("training", "layout")),
    ],
)
def test_values_that_no_export_writes_are_refused(value: object, keys: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected|unpack"):
        ModelFacts.from_json(with_changed(value, *keys), "0" * 64)


def test_what_older_files_lack_and_what_may_be_none_is_taken() -> None:
    assert ModelFacts.from_json(FACTS.to_json(), "0" * 64) == FACTS
    for keys in (("threshold",), ("training",), ("comparison",), ("threshold", "inconclusive_to")):
        ModelFacts.from_json(with_changed(None, *keys), "0" * 64)
    assert OnnxEncoder.open(SHIPPED_MODEL, threads=1).facts.threshold is not None
