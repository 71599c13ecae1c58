"""Every engine is the same encoder: one suite for all.

What this machine lacks is skipped by name; `python -m pytest -rs` lists it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.encoder import Encoder, open_encoder
from model.errors import EncodeError
from model.export import embed_one
from model.network import MetaGait
from tests.engines import ENGINES, Engine, installed, quantised_file, tiny_file, tiny_network, walk

CALLERS = 8
Opened = tuple[Encoder, Engine]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory)


@pytest.fixture(scope="module")
def integers(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised_file(plain, tmp_path_factory.mktemp("integers") / "int8.onnx")


@pytest.fixture(scope="module", params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def network() -> MetaGait:
    return tiny_network()


@pytest.fixture(scope="module")
def model(engine: Engine, request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue("integers" if engine.quantised else "plain")
    return path


@pytest.fixture(scope="module")
def opened(engine: Engine, model: Path) -> Iterator[Opened]:
    with closing(installed(engine.choice, model)) as encoder:
        yield encoder, engine


def test_what_runs_is_what_was_asked_for(opened: Opened) -> None:
    encoder, engine = opened
    runs = encoder.runtime
    assert (runs.engine, runs.provider, runs.precision) == engine.runs
    assert runs.threads * runs.callers == engine.choice.threads
    assert (runs.threads == 1) or engine.choice.mode == "latency"


@pytest.mark.parametrize("lengths", [[1], [2], [3], [30], [300], [5, 1, 2], [31, 7, 60, 30]])
def test_an_engine_agrees_with_the_network_in_any_company(
    opened: Opened, network: MetaGait, lengths: list[int]
) -> None:
    encoder, engine = opened
    walks = [walk(length, seed) for seed, length in enumerate(lengths)]
    batch = encoder.encode(walks)
    assert batch.dtype == np.float32
    assert batch.shape == (len(walks), encoder.facts.embedding_length)
    for row, one in zip(batch, walks, strict=True):
        np.testing.assert_allclose(row, embed_one(network, one), atol=engine.tolerance)
        np.testing.assert_allclose(row, encoder.encode([one])[0], atol=engine.tolerance)


def test_every_length_keeps_its_memory_and_its_answer(opened: Opened, network: MetaGait) -> None:
    encoder, engine = opened
    for frames in [*range(1, 40), 299, 300]:
        (embedding,) = encoder.encode([walk(frames)])
        assert np.isfinite(embedding).all()
    np.testing.assert_allclose(
        encoder.encode([walk(4)])[0], embed_one(network, walk(4)), atol=engine.tolerance
    )


def test_eight_callers_get_each_their_own_answer(opened: Opened) -> None:
    encoder, engine = opened
    walks = [walk(5 + seed, seed) for seed in range(CALLERS)]
    alone = [encoder.encode([one])[0] for one in walks]
    start = threading.Barrier(CALLERS)

    def call(number: int) -> list[NDArray[np.float32]]:
        start.wait()
        return [encoder.encode([walks[number]])[0] for _ in range(5)]

    with ThreadPoolExecutor(CALLERS) as callers:
        for expected, answers in zip(alone, callers.map(call, range(CALLERS)), strict=True):
            for answer in answers:
                np.testing.assert_allclose(answer, expected, atol=engine.tolerance / 10)


def test_an_answer_is_not_overwritten_by_the_next(opened: Opened) -> None:
    encoder, _ = opened
    first = encoder.encode([walk(9, 1)])
    kept = first.copy()
    encoder.encode([walk(9, 2)])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("walks", "says"),
    [
        ([], "at least one walk"),
        ([walk(3).astype(np.float32)], "walk 0: expected uint8"),
        ([walk(3), walk(3)[:, :32]], r"walk 1: .*\[3, 32, 44\]"),
        ([walk(3)[0]], r"walk 0: .*\[64, 44\]"),
        ([walk(3)[:0]], "expected 1 to 2000 frames, got 0"),
        ([np.zeros((2001, 64, 44), np.uint8)], "got 2001"),
    ],
)
def test_wrong_walks_are_refused_and_harm_nothing(
    opened: Opened, walks: list[NDArray[np.uint8]], says: str
) -> None:
    encoder, _ = opened
    with pytest.raises(EncodeError, match=says):
        encoder.encode(walks)
    assert np.isfinite(encoder.encode([walk(3)])).all()


def test_closing_lets_calls_end_and_refuses_later_ones(opened: Opened, model: Path) -> None:
    _, engine = opened
    encoder = open_encoder(model, engine.choice)
    expected = encoder.encode([walk(60)])
    outcomes: list[str] = []
    begun = threading.Event()

    def call_until_refused() -> None:
        while True:
            try:
                answer = encoder.encode([walk(60)])
            except EncodeError as error:
                outcomes.append(str(error))
                return
            np.testing.assert_allclose(answer, expected, atol=engine.tolerance)
            begun.set()

    with ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(call_until_refused) for _ in range(2)]
        assert begun.wait(60)
        encoder.close()
        for call in calls:
            call.result(timeout=60)
    assert all("closed" in said for said in outcomes)
    assert len(outcomes) == 2
    encoder.close()


def test_nothing_spins_between_calls(opened: Opened) -> None:
    """A pool that waits by spinning takes about as much processor time as there is."""
    encoder, _ = opened
    encoder.encode([walk(30)])
    settled = 0.3  # OpenVINO's pool looks around for a moment before it sleeps
    time.sleep(settled)
    spent, waited = process_time_of(lambda: time.sleep(0.5))
    assert spent < waited / 2


def process_time_of(work: Callable[[], None]) -> tuple[float, float]:
    spent, began = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - spent, time.perf_counter() - began
