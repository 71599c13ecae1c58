"""Serves one gallery, and switches it to another model without a pause.

A request holds the same `Rooms` from its first byte to its answer, so that its walk is embedded and
compared by a single model. When the gallery's live generation belongs to another model, new rooms
are opened beside the old ones. Requests that begin afterwards get the new rooms, and the old ones
are closed after their last request.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

from gallery import Model, ModelMismatch
from service.engines import Engines
from service.rooms import Rooms

R = TypeVar("R")
Reopen = Callable[[Rooms, Model, AsyncExitStack], Rooms]
"""Opens rooms for another model beside the given ones; called in a thread. If it raises, the stack
closes what it had opened."""
_LOG = logging.getLogger("metagait.service")
_LOOK_EVERY_S = 1.0


class _Held:
    """Rooms, with a count of the requests that hold them."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self._requests = 0
        self._unheld = asyncio.Event()
        self._unheld.set()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Rooms]:
        self._requests += 1
        self._unheld.clear()
        try:
            yield self.rooms
        finally:
            self._requests -= 1
            if not self._requests:
                self._unheld.set()

    async def until_unheld(self) -> None:
        await self._unheld.wait()


class Serving:
    """Hands out the rooms that answer at the moment; belongs to one event loop.

    Args:
        rooms: the first rooms; their gallery is closed when others replace them, and otherwise by
            whoever opened it.
        engines: receives back the engine of rooms that are no longer used.
        reopen: opens rooms for the model of the live generation.
        follows: whether to leave the first rooms' model even if it was never live in this gallery.
        look_every_s: how often, in seconds, to ask the store which generation is live.

    """

    def __init__(
        self,
        rooms: Rooms,
        reopen: Reopen,
        engines: Engines,
        *,
        follows: bool = False,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        self._current = _Held(rooms)
        self._first = rooms
        self._reopen = reopen
        self._engines = engines
        self._follows = follows
        self._look_every_s = look_every_s
        self._one_at_a_time = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._last_complaint = ""
        self._closing = False

    @property
    def rooms(self) -> Rooms:
        """Return the rooms that a request would get now."""
        return self._current.rooms

    async def start(self) -> None:
        """Begin to answer, with the live generation's model if it can be opened."""
        _start(self.rooms)
        await self._follow()
        self._watching = asyncio.create_task(self._watch(), name="generations")

    async def close(self, *, drain_s: float) -> None:
        """Finish the requests in work, and close whatever was opened here."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        async with self._one_at_a_time:  # rooms that are being opened must be closed as well
            self._closing = True
        await self._engines.release(self.rooms.engine, drain_s=drain_s)
        await asyncio.gather(*self._leaving)
        await self._current.until_unheld()
        if self.rooms is not self._first:
            await asyncio.to_thread(self.rooms.gallery.close)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Rooms]:
        """Hold the current rooms; they stay open meanwhile."""
        async with self._current.lease() as rooms:
            yield rooms

    async def with_one_model(self, rooms: Rooms, work: Callable[[Rooms], Awaitable[R]]) -> R:
        """Do the work in `rooms`, or in their successors if their generation is no longer live.

        Raises:
            ModelMismatch: the live generation's model cannot be opened here.

        """
        try:
            return await work(rooms)
        except ModelMismatch:
            await self._follow()
            if self.rooms is rooms:
                raise
        async with self.lease() as followers:
            return await work(followers)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            await self._follow()

    async def _follow(self) -> None:
        """Switch to the live generation's model, unless it is in use or cannot be opened."""
        async with self._one_at_a_time:
            if self._closing:
                return
            try:
                # Rooms that a thread is opening would be nobody's to close if their request left.
                await to_the_end(self._move())
            except Exception as error:
                # Whatever it is, the current rooms go on answering, and the next look tries again.
                self._complain(str(error))

    async def _move(self) -> None:
        rooms = self.rooms
        live = await rooms.ask(rooms.gallery.live_model)
        if live.model_id == rooms.encoder.facts.model_id:
            self._follows, self._last_complaint = True, ""
            return
        if not self._follows and not await rooms.ask(rooms.gallery.was_replaced):
            return
        async with AsyncExitStack() as undo:
            opened = await asyncio.to_thread(self._reopen, rooms, live, undo)
            undo.pop_all()
        _start(opened)
        old, self._current = self._current, _Held(opened)
        self._last_complaint = ""
        _LOG.info("%s answers now, instead of %s", live, rooms.encoder.facts.model_id)
        task = asyncio.create_task(self._retire(old), name="retired rooms")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _retire(self, held: _Held) -> None:
        """Release what the old rooms hold after their last request."""
        await held.until_unheld()
        await self._engines.release(held.rooms.engine)
        await asyncio.to_thread(held.rooms.gallery.close)

    def _complain(self, text: str) -> None:
        if text != self._last_complaint:
            _LOG.warning("the model that the gallery is on now cannot be opened: %s", text)
            self._last_complaint = text


async def to_the_end(work: Coroutine[Any, Any, R]) -> R:
    """Await work that must not stop half-way; a cancellation takes effect after its end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        task.cancelled() or task.exception()  # nobody else will retrieve it
        raise


def _start(rooms: Rooms) -> None:
    if not rooms.batcher.running:  # another gallery with the same model may have started it
        rooms.batcher.start()
