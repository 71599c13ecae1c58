"""The batcher is bounded, and nobody is left waiting for ever: too many, too late, gone, failed."""

import asyncio
import time

import numpy as np
import pytest

from service.batcher import Batcher
from service.errors import BusyError, DeadlineError, EncoderFaultError, NotReadyError
from tests.batching import enqueue, occupy, play, walk
from tests.fakes import FakeEncoder, mean_picture


def test_closing_ends_every_call() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        await batcher.embed(walk(3))
        await batcher.close()
        assert not batcher.running

    play(scene, calls=3)


def test_a_full_queue_refuses_at_once() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 5, 5)
        with pytest.raises(BusyError):
            await batcher.embed(walk(5))
        encoder.free.set()
        await asyncio.gather(first, *waiting)

    play(scene, queue_walks=2)


def test_parts_of_a_walk_take_one_place_together() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 5)
        parts = [asyncio.create_task(batcher.embed(walk(5), takes_place=False)) for _ in range(3)]
        await asyncio.sleep(0)
        assert batcher.waiting == 4
        waiting += await enqueue(batcher, 5)
        with pytest.raises(BusyError):
            await batcher.embed(walk(5))
        encoder.free.set()
        await asyncio.gather(first, *waiting, *parts)

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


def test_a_walk_whose_batch_has_begun_is_past_its_deadline() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        await asyncio.sleep(0.3)
        encoder.free.set()
        assert (await first).embedding.shape == (88,)

    play(scene, wait_s=0.1)


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
