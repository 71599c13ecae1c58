"""The benchmark of damaged silhouettes: each damage does what its name says, and is counted."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.encoder import SHIPPED_MODEL, OnnxEncoder, Threshold

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
THRESHOLD = Threshold(0.6, 0.01, 0.1, 2, 300, "made up", inconclusive_to=0.7)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("robustness")


def body() -> Any:
    """A man of 96 rows: head, trunk and two legs."""
    frame = np.zeros((120, 90), np.uint8)
    frame[10:26, 38:50] = 255
    frame[26:66, 32:56] = 255
    frame[66:106, 32:40] = frame[66:106, 48:56] = 255
    return frame


def test_every_damage_but_none_changes_a_walk_and_leaves_its_frames_alone(benchmark: Any) -> None:
    frames = [body() for _ in range(40)]
    for name, damage in benchmark.DAMAGES.items():
        damaged = damage(frames, np.random.default_rng(1))
        is_same = len(damaged) == len(frames) and all(map(np.array_equal, damaged, frames))
        assert is_same == (name == "none"), name
        assert all(np.isin(frame, (0, 255)).all() and frame.dtype == np.uint8 for frame in damaged)
        assert all(np.array_equal(frame, body()) for frame in frames), name


def test_a_frame_without_a_body_is_no_error(benchmark: Any) -> None:
    for name, damage in benchmark.DAMAGES.items():
        damaged = damage([np.zeros((30, 20), np.uint8)] * 10 + [body()], np.random.default_rng(1))
        assert not damaged[0].any(), name


def pixels(benchmark: Any, name: str) -> float:
    """White pixels after a damage, in those before it."""
    damaged = benchmark.DAMAGES[name]([body()] * 20, np.random.default_rng(2))
    return float(np.mean([np.count_nonzero(frame) for frame in damaged]) / np.count_nonzero(body()))


def test_damages_do_what_they_say(benchmark: Any) -> None:
    less = ("three holes", "cut in two", "feet hidden, up to an eighth", "a pixel thinner")
    more = ("four blobs beside it", "a shadow", "a pixel thicker")
    assert all(0.5 < pixels(benchmark, name) < 1 for name in less)
    assert all(1 < pixels(benchmark, name) < 1.6 for name in more)
    assert pixels(benchmark, "half the size") == pytest.approx(0.25, abs=0.05)
    assert pixels(benchmark, "15 % wider") == pytest.approx(1.15, abs=0.05)
    feet = benchmark.DAMAGES["feet hidden, up to an eighth"](
        [body()] * 20, np.random.default_rng(3)
    )
    assert all(94 <= np.flatnonzero(frame.any(axis=1))[-1] <= 105 for frame in feet)
    turned = benchmark.DAMAGES["2 % of the pixels turned"]([body()], np.random.default_rng(3))[0]
    assert np.mean(turned != body()) == pytest.approx(0.02, abs=0.006)


def test_a_row_counts_the_searches_of_either_gallery(benchmark: Any) -> None:
    def walks(places: dict[str, float]) -> Any:
        return {
            (who, view, number): np.array([at, 0], np.float32)
            for who, at in places.items()
            for view in ("00", "45", "90")
            for number in (1, 2, 3, 4)
        }

    clean, damaged = walks({"ann": 0, "ben": 2}), walks({"ann": 0.25, "ben": 1.25})
    # Both are nearest to themselves; Ben by 0.75, which no threshold of 0.6 calls a match.
    assert benchmark.row("x", clean, damaged, THRESHOLD) == "| x | 100.0 | 50.0 | 0.50 | 100.0 |"
    swapped = walks({"ann": 2, "ben": 0})
    assert benchmark.row("x", clean, swapped, THRESHOLD) == "| x | 0.0 | 0.0 | 0.00 | 100.0 |"


def test_the_same_seed_damages_alike_and_another_does_not(benchmark: Any) -> None:
    recorded = {
        (who, "00", number): [np.roll(body(), number + place, axis=1) for place in range(4)]
        for who in ("ann", "ben")
        for number in (1, 3)
    }
    encoder = OnnxEncoder.open(SHIPPED_MODEL)
    holes = benchmark.DAMAGES["three holes"]
    first, again, other = (benchmark.embedded(recorded, encoder, holes, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[key], again[key]) for key in recorded)
    assert not any(np.array_equal(first[key], other[key]) for key in recorded)
