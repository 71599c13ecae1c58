"""All galleries of one store that a service serves, found by name and opened on first use.

The settings' gallery, the service's own, is open from start to end. Any other is opened by the
first request that names it, follows its own live generation, and is closed when it is deleted or
the service ends. All share the encoders, the threads and the admission of walks.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gallery import Galleries as StoredGalleries
from gallery import GalleryNotFound
from service.errors import NotReadyError, OwnGalleryError
from service.rooms import Rooms
from service.serving import Serving, to_the_end

OpenServing = Callable[[Rooms, str, ExitStack], Serving]
"""Opens a gallery by name beside the rooms of another; the stack closes what it opens."""


@dataclass(frozen=True)
class _Opened:
    serving: Serving
    stack: ExitStack


class Galleries:
    """The open galleries, by name; belongs to one event loop."""

    def __init__(self, own: Serving, stored: StoredGalleries, open_serving: OpenServing) -> None:
        self.own = own
        self.stored = stored
        self._open = open_serving
        self._opened: dict[str, _Opened] = {}
        self._one_at_a_time = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def own_name(self) -> str:
        """Return the name of the settings' gallery, which serves requests that name none."""
        return self.own.rooms.settings.gallery

    @property
    def open_names(self) -> tuple[str, ...]:
        """Return the names of the open galleries, the service's own first."""
        return (self.own_name, *self._opened)

    async def find(self, name: str | None) -> Serving:
        """Return what serves a gallery, opened if need be; None means the service's own.

        Raises:
            GalleryNotFound: the store has no gallery of that name.
            GalleryError: it cannot be opened.
            NotReadyError: the service is stopping, and the gallery was not open.

        """
        if name is None or name == self.own_name:
            return self.own
        if (known := self._opened.get(name)) is not None:
            return known.serving
        # Filling an index may take minutes; requests to galleries that are open do not wait here.
        async with self._one_at_a_time:
            known = self._opened.get(name)
            if known is None and self._closing:
                # It would share an engine that nobody holds any more, and never be closed.
                raise NotReadyError("expected a running service, got one that is stopping")
            if known is None:
                known = await to_the_end(self._opened_now(name))
            return known.serving

    @asynccontextmanager
    async def lease(self, name: str | None) -> AsyncIterator[Rooms]:
        """Hold the rooms of a gallery; close it if it turns out to have been deleted."""
        serving = await self.find(name)
        try:
            async with serving.lease() as rooms:
                yield rooms
        except GalleryNotFound:
            self.forget(name)
            raise

    async def delete(self, name: str, actor: str) -> None:
        """Delete a gallery in which nobody is enrolled any more.

        Raises:
            OwnGalleryError: it is the service's own gallery.
            GalleryNotFound, GalleryNotEmpty, RebuildRefused: the store refuses.

        """
        if name == self.own_name:
            raise OwnGalleryError(
                f"expected another gallery than {name}, which this service was started for"
            )
        await self.own.rooms.ask(self.stored.delete, name, actor=actor)
        self.forget(name)

    def forget(self, name: str | None) -> None:
        """Close a gallery after its last request; a later one reopens it if it still exists."""
        known = self._opened.pop(name, None) if name is not None else None
        if known is not None:
            task = asyncio.create_task(_close(known, 0), name="gallery that left")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def close(self, *, drain_s: float) -> None:
        """Finish the requests in work in all galleries, and close those opened here."""
        async with self._one_at_a_time:  # wait for a gallery that is being opened
            self._closing = True
            closings = [_close(known, drain_s) for known in self._opened.values()]
        # At the same time, because the drain time holds for the whole service.
        ended = await asyncio.gather(
            *closings, *self._leaving, self.own.close(drain_s=drain_s), return_exceptions=True
        )
        for error in filter(None, ended):
            raise error

    async def _opened_now(self, name: str) -> _Opened:
        stack = ExitStack()
        try:
            async with self.own.lease() as rooms:
                serving = await asyncio.to_thread(self._open, rooms, name, stack)
                await serving.start()
        except BaseException:
            await asyncio.to_thread(stack.close)
            raise
        self._opened[name] = opened = _Opened(serving, stack)
        return opened


async def _close(known: _Opened, drain_s: float) -> None:
    await known.serving.close(drain_s=drain_s)
    await asyncio.to_thread(known.stack.close)


def galleries_of(request: Request) -> Galleries:
    """Return the galleries that the lifespan opened."""
    galleries: Galleries = request.app.state.galleries
    return galleries


GalleriesHere = Annotated[Galleries, Depends(galleries_of)]
