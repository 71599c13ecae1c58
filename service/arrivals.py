"""One FastAPI dependency with all that a route needs to know about a request with a walk.

FastAPI takes about a tenth of a millisecond to resolve a dependency, whatever it does, and more if
several read the same parameter. Walks arrive often enough for that to matter.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import IO, Annotated

from fastapi import Depends, Request

from service.access import caller_of
from service.galleries import Galleries
from service.keyring import Caller
from service.once import IdempotencyKey, Once, once_of
from service.rooms import GalleryName, Rooms, upload_of
from service.serving import Serving
from service.uploads import Upload


@dataclass(frozen=True)
class Arrival:
    """An upload, who sent it, and what answers it."""

    request: Request | None
    """None for one walk of a batch: a caller that hangs up leaves all of them."""
    serving: Serving
    rooms: Rooms
    """The model and gallery at the moment of arrival."""
    caller: Caller
    upload: Upload
    once: Once

    @property
    def is_part(self) -> bool:
        """Tell whether it is one walk of a batch, which has a single place for all of them."""
        return self.request is None

    def part(self, file: IO[bytes]) -> "Arrival":
        """Return the arrival of one walk of a batch."""
        return replace(self, request=None, upload=Upload(sequence=file))


async def arrival_of(
    request: Request, gallery: GalleryName = None, idempotency_key: IdempotencyKey = None
) -> AsyncIterator[Arrival]:
    """Admit and receive a walk; its files and its place are released after the answer."""
    galleries: Galleries = request.app.state.galleries
    serving, caller = await galleries.find(gallery), await caller_of(request)
    async with galleries.lease(gallery) as rooms, _upload(request, rooms) as upload:
        once = await once_of(request, rooms, caller, idempotency_key)
        yield Arrival(request, serving, rooms, caller, upload, once)


_upload = asynccontextmanager(upload_of)

ArrivalHere = Annotated[Arrival, Depends(arrival_of)]
