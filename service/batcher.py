"""The queue before the encoder: turns many requests into few encoder calls.

Greedy: a batch is whatever waits when the encoder becomes free, so an idle service adds no delay
and a busy one fills its batches by itself. The oldest walk always goes. Those nearest to it in
length go along while the padded batch stays within a budget of frames, because a ragged batch costs
its number of walks times its longest walk.

An encoder that gains from parallel calls gets several, and the waiting walks are shared among them:
two calls of one thread each do more than two in turn of two threads. Where calls are short, the
next ones are prepared meanwhile, so that the encoder never waits for an event loop that is busy
with answers. A walk that is late, or whose caller has gone, is left out when its call begins.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import BusyError, DeadlineError, EncoderFaultError, NotReadyError

Encode = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]


@dataclass(frozen=True)
class Encoded:
    """An embedding, float32 `[P*D]`, and how long its walk waited and its encoder call took."""

    embedding: NDArray[np.float32]
    queue_ms: float
    encode_ms: float


@dataclass(frozen=True)
class BatchReport:
    """One encoder call: its walks' frame counts, how long each waited, and how long it took."""

    frames: tuple[int, ...]
    waited_s: tuple[float, ...]
    encode_s: float
    since: float
    """When its first walk was there, and when all were embedded, by `time.perf_counter`."""
    until: float


def _unseen(_report: BatchReport) -> None:
    """Ignore a report."""


def _in_a_second() -> int:
    """Ask refused callers to retry after one second."""
    return 1


@dataclass
class _Pending:
    walk: NDArray[np.uint8]
    answer: asyncio.Future[Encoded]
    since: float
    arrived: float
    takes_place: bool = True
    begun: bool = False

    def give_up(self, late: Callable[[], Exception]) -> None:
        """Fail the walk as late, unless the encoder has begun with it and will answer soon."""
        if not self.begun:
            _fail(self.answer, late())

    def begin(self) -> bool:
        """Mark the walk as begun, which meets its deadline; tell whether its caller still waits."""
        # Write before reading. If the caller gives up at this very moment, its walk may still be
        # encoded; the answer is then dropped.
        self.begun = True
        return not self.answer.done()


class _Call(NamedTuple):
    """What an encoder thread returns: whose walks it encoded, when it began, how long it took."""

    batch: list[_Pending]
    embeddings: NDArray[np.float32]
    started: float
    encode_s: float


class Batcher:
    """Queues walks for one encoder, which runs in threads of its own.

    Call `start` and `close` on the event loop that calls `embed`.

    Args:
        encode: embeds walks uint8 `[T_i, H, W]` as float32 `[N, P*D]`.
        batch_frames: most frames of one batch, each walk padded to its longest.
        queue_walks: most walks that may wait.
        wait_s: seconds that a walk may wait until the encoder begins with it.
        calls: encoder calls at a time.
        ahead: calls to prepare meanwhile; their walks have left the queue.
        notice: receives a report of every batch that was encoded.
        retry_after_s: asked at each refusal for the seconds after which to retry.

    """

    def __init__(
        self,
        encode: Encode,
        *,
        batch_frames: int,
        queue_walks: int,
        wait_s: float,
        calls: int = 1,
        ahead: int = 0,
        notice: Callable[[BatchReport], None] = _unseen,
        retry_after_s: Callable[[], int] = _in_a_second,
    ) -> None:
        self._encode = encode
        self._batch_frames = batch_frames
        self._queue_walks = queue_walks
        self._wait_s = wait_s
        self._notice = notice
        self._retry_after_s = retry_after_s
        self._waiting: list[_Pending] = []
        self._arrived = asyncio.Event()
        self._calls = calls
        self._ahead = ahead
        self._threads = ThreadPoolExecutor(calls, thread_name_prefix="encoder")
        self._workers: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def running(self) -> bool:
        """Tell whether a walk passed to `embed` now would be worked on."""
        working = bool(self._workers) and not any(worker.done() for worker in self._workers)
        return working and not self._closing

    @property
    def waiting(self) -> int:
        """Return how many walks in the queue still have a waiting caller."""
        return sum(not pending.answer.done() for pending in self._waiting)

    def start(self) -> None:
        """Start the workers that take batches off the queue."""
        self._workers = {
            asyncio.create_task(self._work(), name=f"batcher {number}")
            for number in range(self._calls + self._ahead)
        }

    async def embed(
        self, walk: NDArray[np.uint8], *, since: float | None = None, takes_place: bool = True
    ) -> Encoded:
        """Embed one aligned walk; cancel the call to leave the queue.

        Args:
            walk: uint8 `[T, H, W]`.
            since: when it began to wait, by `time.perf_counter`; now by default.
            takes_place: False for a further part of a walk that already has a place in the queue.
                Else a walk of more parts than places could never be embedded.

        Raises:
            BusyError: the queue is full.
            DeadlineError: the encoder did not begin with the walk in time.
            NotReadyError: the batcher is not running, or was closed meanwhile.
            EncoderFaultError: the encoder returned a wrong shape.
            Exception: whatever the encoder raised for the batch.

        """
        if not self.running:
            raise NotReadyError("expected a running service, got one that is starting or stopping")
        self._forget_gone()
        if takes_place and self._places_taken() >= self._queue_walks:
            raise BusyError(
                f"{self._queue_walks} walks wait already; try again in a moment",
                retry_after_s=self._retry_after_s(),
            )
        answer, now = asyncio.get_running_loop().create_future(), time.perf_counter()
        since = now if since is None else since
        pending = _Pending(walk, answer, since, arrived=now, takes_place=takes_place)
        with self._deadline_of(pending):
            self._waiting.append(pending)
            self._arrived.set()
            return await pending.answer

    async def close(self, *, drain_s: float = 0) -> None:
        """Refuse new walks, go on with those that wait for `drain_s` seconds, fail the rest."""
        self._closing = True
        self._arrived.set()
        if self._workers:
            await asyncio.wait(self._workers, timeout=drain_s)
        for pending in self._waiting:
            stopped = NotReadyError("the service stopped before this walk was embedded")
            _fail(pending.answer, stopped)
        self._waiting.clear()
        await asyncio.gather(*self._workers)
        self._threads.shutdown()

    async def _work(self) -> None:
        while not self._closing:
            await self._arrived.wait()
            while batch := self._take():
                await self._run(batch)
            # The queue is empty: wait for more, unless closing.
            if not self._closing:
                self._arrived.clear()

    @contextmanager
    def _deadline_of(self, pending: _Pending) -> Iterator[None]:
        left_s = pending.since + self._wait_s - pending.arrived
        if left_s <= 0:
            raise self._late()
        timer = asyncio.get_running_loop().call_later(left_s, pending.give_up, self._late)
        try:
            yield
        finally:
            timer.cancel()

    def _late(self) -> DeadlineError:
        return DeadlineError(
            f"the encoder was busy for {self._wait_s:g} seconds; try again in a moment",
            retry_after_s=self._retry_after_s(),
        )

    def _places_taken(self) -> int:
        return sum(pending.takes_place for pending in self._waiting)

    def _forget_gone(self) -> None:
        self._waiting = [pending for pending in self._waiting if not pending.answer.done()]

    def _take(self) -> list[_Pending]:
        """Take the next batch off the queue; an empty list if nobody waits."""
        self._forget_gone()
        if not self._waiting:
            return []
        oldest, *others = self._waiting
        others.sort(key=lambda pending: abs(len(pending.walk) - len(oldest.walk)))
        batch, longest = [oldest], len(oldest.walk)
        # Leave the other calls their share; whichever is free first takes the next batch.
        for pending in others[: math.ceil(len(self._waiting) / self._calls) - 1]:
            longest = max(longest, len(pending.walk))
            if (len(batch) + 1) * longest > self._batch_frames:
                break
            batch.append(pending)
        taken = {id(pending) for pending in batch}
        self._waiting = [pending for pending in self._waiting if id(pending) not in taken]
        return batch

    async def _run(self, batch: list[_Pending]) -> None:
        """Encode a batch, and give each caller its embedding, or all of them the failure."""
        loop = asyncio.get_running_loop()
        try:
            call = await loop.run_in_executor(self._threads, self._call, batch)
            if call is None:
                return
            _check_answer(call.embeddings, len(call.batch))
        except Exception as error:
            # Whatever it is, every caller of the batch must get it.
            for pending in batch:
                _fail(pending.answer, error)
            return
        self._answer(call)

    def _call(self, batch: Sequence[_Pending]) -> _Call | None:
        """Encode the walks whose callers still wait, in an encoder thread; None if none do."""
        waiting = [pending for pending in batch if pending.begin()]
        if not waiting:
            return None
        started = time.perf_counter()
        embeddings = self._encode([pending.walk for pending in waiting])
        return _Call(waiting, embeddings, started, time.perf_counter() - started)

    def _answer(self, call: _Call) -> None:
        waited_s = tuple(call.started - pending.arrived for pending in call.batch)
        for pending, embedding, waited in zip(call.batch, call.embeddings, waited_s, strict=True):
            # A caller that left has cancelled its future, on which set_result raises.
            with suppress(asyncio.InvalidStateError):
                pending.answer.set_result(Encoded(embedding, waited * 1000, call.encode_s * 1000))
        self._notice(
            BatchReport(
                frames=tuple(len(pending.walk) for pending in call.batch),
                waited_s=waited_s,
                encode_s=call.encode_s,
                since=min(pending.since for pending in call.batch),
                until=time.perf_counter(),
            )
        )


def _check_answer(embeddings: NDArray[np.float32], count: int) -> None:
    if embeddings.ndim != 2 or len(embeddings) != count:
        raise EncoderFaultError(
            f"expected {count} embeddings from the encoder, got shape {list(embeddings.shape)}"
        )


def _fail(answer: asyncio.Future[Encoded], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
