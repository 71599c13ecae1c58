"""The batcher: greedy, a budget in frames, and what it says about a batch."""

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.batcher import Batcher, BatchReport
from tests.batching import enqueue, occupy, play, walk
from tests.fakes import FakeEncoder, mean_picture


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


def test_a_walk_larger_than_the_budget_goes_alone() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        await batcher.embed(walk(150))
        assert encoder.batches == [[150]]

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


def test_the_oldest_walk_goes_first_however_odd_its_length() -> None:
    async def scene(batcher: Batcher, encoder: FakeEncoder) -> None:
        first = await occupy(batcher, encoder)
        waiting = await enqueue(batcher, 60, 5, 5, 5)
        encoder.free.set()
        await asyncio.gather(first, *waiting)
        assert encoder.batches == [[1], [60], [5, 5, 5]]

    play(scene)
