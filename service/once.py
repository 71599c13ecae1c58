"""Lets a route honour its request's Idempotency-Key, by the answers in `service.idempotency`."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel

from service.access import CallerHere
from service.idempotency import Answers, digest_of
from service.rooms import RoomsHere
from service.uploads import Upload

B = TypeVar("B", bound=BaseModel)
Name = tuple[str, int, str]
"""The gallery, how often any process erased somebody from it, and the caller's name for the
request."""
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=128,
        description="A name of your choice for this request, so that it is worked on only once. "
        "Sent again with the same content within an hour, it gets the first answer, or a 409 "
        "`request_in_work` while there is none yet. With other content, or to another path, it "
        "gets a 409 `idempotency_conflict`.",
    ),
]


class Once:
    """Works on a request, unless it was already answered under its key."""

    def __init__(
        self, answers: Answers, caller: str | None, name: Name | None, target: str
    ) -> None:
        self._answers = answers
        self._caller = caller
        self._name = name
        self._target = target

    async def upload(
        self,
        upload: Upload,
        body: type[B],
        work: Callable[[], Awaitable[B]],
        *,
        keep: Callable[[B], bool] = lambda _: True,
    ) -> B:
        """Do the work for an upload, or return the `body` of its first answer.

        An answer that `keep` rejects is not stored, so a repeated request is worked on again.
        """
        if self._name is None:
            return await work()
        digest = await asyncio.to_thread(digest_of, upload)
        return await self._once(digest, body, work, keep)

    async def words(self, wanted: BaseModel, body: type[B], work: Callable[[], Awaitable[B]]) -> B:
        """Do the work for a JSON body, or return the `body` of its first answer."""
        digest = hashlib.sha256(wanted.model_dump_json().encode()).hexdigest()
        return await self._once(digest, body, work, lambda _: True)

    async def _once(
        self,
        digest: str,
        body: type[B],
        work: Callable[[], Awaitable[B]],
        keep: Callable[[B], bool],
    ) -> B:
        if self._name is None:
            return await work()
        asked = f"{self._target} {digest}"
        return await self._answers.once(self._caller, self._name, asked, body, work, keep=keep)


async def once_of(
    request: Request, rooms: RoomsHere, caller: CallerHere, idempotency_key: IdempotencyKey = None
) -> Once:
    """Build the `Once` of a request; each caller's keys are its own."""
    name = None
    if idempotency_key is not None:
        # Answers name people, so none may outlive an erasure, even by another replica or one that
        # was itself answered by an error: the count becomes part of the name.
        erasures = await rooms.ask(rooms.gallery.erasures)
        name = (rooms.settings.gallery, erasures, idempotency_key)
    target = f"{request.method} {request.url.path}?{request.url.query}"
    return Once(rooms.answers, caller.key_id, name, target)


OnceHere = Annotated[Once, Depends(once_of)]
