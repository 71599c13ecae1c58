"""A walk that arrived: all that a route has to know about its request, in one dependency.

FastAPI takes about a tenth of a millisecond to resolve a dependency, whatever it does, and more
when several of them read the same parameter. Walks come often enough that it shows.
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
    """An upload, whose it is, and who answers it."""

    request: Request | None
    """None for a walk of several: who hangs up leaves all of them."""
    serving: Serving
    rooms: Rooms
    """The model and gallery of the moment at which it arrived."""
    caller: Caller
    upload: Upload
    once: Once

    def part(self, file: IO[bytes]) -> "Arrival":
        """One of several walks that came together."""
        return replace(self, request=None, upload=Upload(sequence=file))


async def arrival_of(
    request: Request, gallery: GalleryName = None, idempotency_key: IdempotencyKey = None
) -> AsyncIterator[Arrival]:
    """Admit and receive a walk; its files and its place are given back after the answer."""
    galleries: Galleries = request.app.state.galleries
    serving, caller = await galleries.find(gallery), await caller_of(request)
    async with galleries.lease(gallery) as rooms, _upload(request, rooms) as upload:
        once = await once_of(request, rooms, caller, idempotency_key)
        yield Arrival(request, serving, rooms, caller, upload, once)


_upload = asynccontextmanager(upload_of)

ArrivalHere = Annotated[Arrival, Depends(arrival_of)]
