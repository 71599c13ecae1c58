"""Every engine is the same encoder: one suite for all.

What this machine lacks is skipped by name; `python -m pytest -rs` lists it.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
from service.batcher import Batcher, Encoded
from tests.engines import (
    ENGINES,
    Engine,
    halved_file,
    installed,
    quantised_file,
    tiny_file,
    tiny_network,
    walk,
)

CALLERS = 8
Opened = tuple[Encoder, Engine]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory)


@pytest.fixture(scope="module")
def files(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file that asks for each precision."""
    folder = tmp_path_factory.mktemp("files")
    return {
        "float32": plain,
        "float16": halved_file(plain, folder / "float16.onnx"),
        "int8": quantised_file(plain, folder / "int8.onnx"),
    }


@pytest.fixture(scope="module", params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def network() -> MetaGait:
    return tiny_network()


@pytest.fixture(scope="module")
def model(engine: Engine, files: dict[str, Path]) -> Path:
    return files[engine.file]


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


@pytest.fixture(scope="module")
def of_every_length(network: MetaGait) -> dict[int, NDArray[np.float32]]:
    """What torch gives: twice each remainder of a window of twelve frames, then longer ones."""
    lengths = [*range(1, 26), *range(37, 300, 37), 299, 300]
    return {frames: embed_one(network, walk(frames)) for frames in lengths}


def test_every_length_has_its_answer(
    opened: Opened, of_every_length: dict[int, NDArray[np.float32]]
) -> None:
    encoder, engine = opened
    for frames, expected in of_every_length.items():
        (embedding,) = encoder.encode([walk(frames)])
        np.testing.assert_allclose(
            embedding, expected, atol=engine.tolerance, err_msg=f"{frames} frames"
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


def test_callers_who_leave_take_nothing_from_those_who_stay(opened: Opened) -> None:
    """Before their call has begun, and while it is in work."""
    encoder, engine = opened
    walks = [walk(5 + seed, seed) for seed in range(CALLERS)]
    alone = [encoder.encode([one])[0] for one in walks]
    begun: list[int] = []

    def encode(some: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        begun.append(len(some))
        return encoder.encode(some)

    async def scene() -> list[Encoded | BaseException]:
        batcher = Batcher(encode, batch_frames=64, queue_walks=CALLERS, wait_s=60)
        batcher.start()
        calls = [asyncio.create_task(batcher.embed(one)) for one in walks]
        while not begun:
            await asyncio.sleep(0)
        for leaving in calls[::2]:
            leaving.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await batcher.close()
        return answers

    for number, answer in enumerate(asyncio.run(scene())):
        if number % 2 == 0:
            assert isinstance(answer, asyncio.CancelledError)
        else:
            assert isinstance(answer, Encoded)
            np.testing.assert_allclose(
                answer.embedding, alone[number], atol=max(engine.tolerance / 10, 1e-4)
            )
    assert sum(begun) <= CALLERS
    np.testing.assert_allclose(encoder.encode([walks[0]])[0], alone[0], atol=engine.tolerance / 10)


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
