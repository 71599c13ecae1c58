"""The batcher: greedy, a budget in frames, bounded, and nobody is left waiting for ever."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.batcher import Batcher, BatchReport, Encoded
from service.errors import BusyError, DeadlineError, EncoderFaultError, NotReadyError
from tests.fakes import SIZE, FakeEncoder, mean_picture

Scene = Callable[[Batcher, FakeEncoder], Coroutine[Any, Any, None]]


def walk(frames: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(frames).integers(0, 256, (frames, *SIZE), np.uint8)


def play(
    scene: Scene,
    *,
    batch_frames: int = 100,
    queue_walks: int = 20,
    wait_s: float = 20,
    calls: int = 1,
    ahead: int = 0,
) -> None:
    async def run() -> None:
        encoder = FakeEncoder()
        batcher = Batcher(
            encoder.encode,
            batch_frames=batch_frames,
            queue_walks=queue_walks,
            wait_s=wait_s,
            calls=calls,
            ahead=ahead,
        )
        batcher.start()
        try:
            await asyncio.wait_for(scene(batcher, encoder), timeout=20)
        finally:
            encoder.free.set()
            await batcher.close()

    asyncio.run(run())


async def occupy(batcher: Batcher, encoder: FakeEncoder) -> asyncio.Task[Encoded]:
    """Keep the encoder busy with a walk of one frame until `encoder.free` is set."""
    encoder.free.clear()
    task = asyncio.create_task(batcher.embed(walk(1)))
    await asyncio.to_thread(encoder.entered.wait, 10)
    return task


async def enqueue(batcher: Batcher, *frames: int) -> list[asyncio.Task[Encoded]]:
    tasks = [asyncio.create_task(batcher.embed(walk(count))) for count in frames]
    before = batcher.waiting
    while batcher.waiting < before + len(frames):
        await asyncio.sleep(0)
    return tasks


def test_every_caller_gets_its_own_embedding() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        frames = [7, 3, 30, 3, 12]
        answers = await asyncio.gather(*(batcher.embed(walk(count)) for count in frames))
        for count, answer in zip(frames, answers, strict=True):
            np.testing.assert_array_equal(answer.embedding, mean_picture(walk(count)))

    play(scene)


def test_a_single_walk_does_not_wait_for_company() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        await batcher.embed(walk(5))
        assert encoder.batches == [[5]]

    play(scene)


def test_batches_are_sorted_by_length_and_stay_within_the_budget() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 20, 90, 22, 21, 30, 19)
        encoder.free.set()
        await asyncio.gather(first, *waiting)
        # The oldest goes with those nearest in length; 5 × 30 padded frames would be too many.
        assert encoder.batches[0] == [1]
        assert sorted(encoder.batches[1]) == [19, 20, 21, 22]
        assert encoder.batches[2:] == [[90], [30]]
        assert all(len(batch) * max(batch) <= 100 for batch in encoder.batches)

    play(scene)


def test_an_encoder_that_gains_from_two_calls_gets_two_and_they_share_what_waits() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        encoder.entered.clear()
        second = asyncio.create_task(batcher.embed(walk(2)))
        # The second call begins although the first one does not end.
        assert await asyncio.to_thread(encoder.entered.wait, 10)
        waiting = await enqueue(batcher, 5, 6, 7, 8)
        encoder.free.set()
        answers = await asyncio.gather(first, second, *waiting)
        for count, answer in zip((1, 2, 5, 6, 7, 8), answers, strict=True):
            np.testing.assert_array_equal(answer.embedding, mean_picture(walk(count)))
        assert encoder.batches[:3] == [[1], [2], [5, 6]]

    play(scene, calls=2)


def test_the_next_call_is_laid_ready_while_one_runs() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        ready = asyncio.create_task(batcher.embed(walk(4)))
        await asyncio.sleep(0)
        while batcher.waiting:
            await asyncio.sleep(0)
        waiting = await enqueue(batcher, 5, 6)
        encoder.free.set()
        answers = await asyncio.gather(first, ready, *waiting)
        for count, answer in zip((1, 4, 5, 6), answers, strict=True):
            np.testing.assert_array_equal(answer.embedding, mean_picture(walk(count)))
        # One at a time all the same; the walk that was laid ready went without company.
        assert encoder.batches[:2] == [[1], [4]]
        assert answers[1].queue_ms > 0

    play(scene, ahead=1)


def test_a_call_laid_ready_is_not_counted_as_encoding() -> None:
    reports: list[BatchReport] = []

    def encode(walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        time.sleep(0.2)
        return np.zeros((len(walks), 4), np.float32)

    async def run() -> None:
        batcher = Batcher(
            encode, batch_frames=1, queue_walks=9, wait_s=20, ahead=1, notice=reports.append
        )
        batcher.start()
        await asyncio.gather(*(batcher.embed(walk(2)) for _ in range(3)))
        await batcher.close()

    asyncio.run(run())
    first, second, third = reports
    assert second.waited_s[0] >= 0.19
    # Each began when the one before had ended, and none of them counts the other's time as its own.
    assert third.waited_s[0] >= second.waited_s[0] + 0.9 * second.encode_s
    assert first.waited_s[0] < second.waited_s[0]


def test_closing_ends_every_call() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        await batcher.embed(walk(3))
        await batcher.close()
        assert not batcher.running

    play(scene, calls=3)


def test_a_walk_larger_than_the_budget_goes_alone() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        await batcher.embed(walk(150))
        assert encoder.batches == [[150]]

    play(scene)


def test_a_full_queue_refuses_at_once() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 5, 5)
        with pytest.raises(BusyError):
            await batcher.embed(walk(5))
        encoder.free.set()
        await asyncio.gather(first, *waiting)

    play(scene, queue_walks=2)


def test_a_walk_that_waits_too_long_is_refused_and_never_encoded() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        (late,) = await enqueue(batcher, 5)
        with pytest.raises(DeadlineError):
            await late
        assert batcher.waiting == 0
        encoder.free.set()
        await first
        await batcher.embed(walk(7))
        assert encoder.batches == [[1], [7]]

    play(scene, wait_s=0.2)


def test_a_walk_that_was_laid_ready_may_still_be_too_late() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        (late,) = await enqueue(batcher, 5)
        while batcher.waiting:
            await asyncio.sleep(0)
        with pytest.raises(DeadlineError):
            await late
        encoder.free.set()
        await first
        await batcher.embed(walk(7))
        assert encoder.batches == [[1], [7]]

    play(scene, wait_s=0.2, ahead=1)


def test_a_caller_that_leaves_when_its_call_is_laid_ready_is_not_encoded() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        gone, stays = await enqueue(batcher, 5, 6)
        while batcher.waiting:
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        encoder.free.set()
        await asyncio.gather(first, stays)
        assert encoder.batches == [[1], [6]]

    play(scene, ahead=1)


def test_time_before_the_queue_counts() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        with pytest.raises(DeadlineError):
            await batcher.embed(walk(5), since=time.perf_counter() - 21)
        assert batcher.waiting == 0
        await batcher.embed(walk(7), since=time.perf_counter() - 5)
        assert encoder.batches == [[7]]

    play(scene)


def test_a_report_tells_since_when_its_walks_were_there_and_until_when_it_took() -> None:
    reports: list[BatchReport] = []
    encoder = FakeEncoder()

    async def run() -> None:
        batcher = Batcher(
            encoder.encode, batch_frames=100, queue_walks=9, wait_s=20, notice=reports.append
        )
        batcher.start()
        first = await occupy(batcher, encoder)
        now = time.perf_counter()
        waiting = [
            asyncio.create_task(batcher.embed(walk(5), since=now - earlier)) for earlier in (2, 3)
        ]
        while batcher.waiting < 2:
            await asyncio.sleep(0)
        encoder.free.set()
        await asyncio.gather(first, *waiting)
        await batcher.close()
        assert reports[1].since == now - 3
        assert now < reports[0].until <= reports[1].until <= time.perf_counter()

    asyncio.run(run())


def test_a_walk_whose_batch_has_begun_is_past_its_deadline() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        await asyncio.sleep(0.3)
        encoder.free.set()
        assert (await first).embedding.shape == (88,)

    play(scene, wait_s=0.1)


def test_the_oldest_walk_goes_first_however_odd_its_length() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 60, 5, 5, 5)
        encoder.free.set()
        await asyncio.gather(first, *waiting)
        assert encoder.batches == [[1], [60], [5, 5, 5]]

    play(scene)


def test_a_caller_that_left_is_dropped_and_gives_its_place_back() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        gone, stays = await enqueue(batcher, 5, 6)
        gone.cancel()
        await asyncio.wait([gone])
        (late,) = await enqueue(batcher, 7)
        encoder.free.set()
        await asyncio.gather(first, stays, late)
        assert encoder.batches == [[1], [6, 7]]

    play(scene, queue_walks=2)


def test_a_caller_that_leaves_during_its_batch_does_not_hang_the_rest() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        first.cancel()
        await asyncio.wait([first])
        encoder.free.set()
        answer = await batcher.embed(walk(4))
        np.testing.assert_array_equal(answer.embedding, mean_picture(walk(4)))

    play(scene)


def test_a_failure_reaches_every_caller_of_the_batch_and_no_other() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 5, 6, 7)
        encoder.failure = RuntimeError("the encoder broke")
        encoder.free.set()
        answers = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert [str(answer) for answer in answers] == ["the encoder broke"] * 4
        encoder.failure = None
        assert (await batcher.embed(walk(5))).embedding.shape == (88,)

    play(scene)


def test_a_wrong_number_of_embeddings_is_a_fault() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 5, 6)
        encoder.missing = 1
        encoder.free.set()
        answers = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert {type(answer) for answer in answers} == {EncoderFaultError}

    play(scene)


def test_closing_drains_what_waits_while_there_is_time() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 5, 6)
        closing = asyncio.create_task(batcher.close(drain_s=20))
        await asyncio.sleep(0)
        with pytest.raises(NotReadyError):
            await batcher.embed(walk(5))
        encoder.free.set()
        answers = await asyncio.gather(first, *waiting)
        assert {answer.embedding.shape for answer in answers} == {(88,)}
        await closing

    play(scene)


def test_closing_finishes_what_runs_and_fails_what_waits() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 5, 6)
        closing = asyncio.create_task(batcher.close())
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(answer) for answer in answers} == {NotReadyError}
        encoder.free.set()
        await closing
        assert (await first).embedding.shape == (88,)
        assert not batcher.running
        with pytest.raises(NotReadyError):
            await batcher.embed(walk(5))

    play(scene)
