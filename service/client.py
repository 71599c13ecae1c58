"""The typed Python client of a running service, synchronous and asynchronous.

    with Client("http://127.0.0.1:8000", key="mg_…") as client:
        client.enroll("p-017", Path("walks/p-017.zip"))
        print(client.identify(silhouettes).decision)

    async with AsyncClient("http://127.0.0.1:8000") as client:
        print((await client.identify(silhouettes)).decision)

A walk is a file that the service reads, a folder of pictures, a list of pictures, or an array. If
the service is busy (429 or 503), or still at work on the same request (409), the client repeats the
call after the time that it names; after a refused or lost connection, in a second. A walk is sent
under an Idempotency-Key, the caller's or a new one, so that it is worked on only once.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from service import calls, schemas
from service.calling import Calling
from service.calls import Call, WalkSource

B = TypeVar("B", bound=BaseModel)


class Client(Calling[httpx.Client, httpx.BaseTransport]):
    """Calls one service. Every method may raise UnreachableError or RefusedError.

    An erasure that is repeated after a lost connection may find nothing left to erase. That raises
    AnswerLostError, a RefusedError, because the answer with the receipt and its salt is lost.
    """

    def _connected(self, **options: Any) -> httpx.Client:
        return httpx.Client(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def enroll(
        self,
        subject: str,
        walk: WalkSource,
        *,
        metadata: Mapping[str, Any] | None = None,
        captured_at: datetime | None = None,
        consent: schemas.Consent | None = None,
        force: bool = False,
        idempotency_key: str | None = None,
    ) -> schemas.Enrolled:
        """Enrol a walk of a subject, new or not; `force` accepts a walk of poor quality."""
        call = calls.enroll(
            subject,
            walk,
            metadata,
            captured_at=captured_at,
            consent=consent,
            force=force,
            key=idempotency_key,
        )
        return self._do(call)

    def identify(
        self,
        walk: WalkSource,
        *,
        limit: int = 5,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> schemas.Identified:
        """Find the subjects nearest to a walk; a `view` in `metadata` is compared with theirs."""
        return self._do(calls.identify(walk, limit, metadata, idempotency_key))

    def identify_batch(
        self,
        walks: Sequence[WalkSource],
        *,
        limit: int = 5,
        idempotency_key: str | None = None,
    ) -> tuple[schemas.BatchItem, ...]:
        """Identify up to 64 walks in one call; each gets its own answer or problem."""
        return self._do(calls.identify_batch(walks, limit, idempotency_key)).items

    def verify(
        self,
        subject: str,
        walk: WalkSource,
        *,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> schemas.Verified:
        """Compare a walk with one subject."""
        return self._do(calls.verify(subject, walk, metadata, idempotency_key))

    def subjects(self, *, limit: int = 50, after: str | None = None) -> schemas.Subjects:
        """Return one page of subjects."""
        return self._do(calls.subjects(limit, after))

    def subject(
        self, subject: str, *, limit: int = 500, after: str | None = None
    ) -> schemas.SubjectDetail:
        """Return a subject with one page of its samples."""
        return self._do(calls.subject(subject, limit, after))

    def erase_subject(self, subject: str) -> schemas.Erased:
        """Erase a subject and all its samples for good."""
        return self._do(calls.erase_subject(subject))

    def erase_sample(self, sample_id: str) -> schemas.Erased:
        """Erase one sample for good."""
        return self._do(calls.erase_sample(sample_id))

    def info(self) -> schemas.Info:
        """Return what the service runs."""
        return self._do(calls.info())

    def ready(self) -> schemas.Ready:
        """Ask once whether the service is ready; raises RefusedError if it is not yet."""
        return self._do(calls.ready())

    def _do(self, call: Call[B]) -> B:
        attempts = self._attempts(call)
        while True:
            try:
                response = self._http.request(call.method, call.path, **call.options)
            except httpx.RequestError as error:
                wait_s = attempts.after_loss(error)
            else:
                again_s = attempts.after_answer(response)
                if again_s is None:
                    return attempts.answer(response)
                wait_s = again_s
            (self._wait or time.sleep)(wait_s)


class AsyncClient(Calling[httpx.AsyncClient, httpx.AsyncBaseTransport]):
    """Calls one service from an event loop. Its methods raise the same errors as `Client`'s."""

    def _connected(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(**options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def enroll(
        self,
        subject: str,
        walk: WalkSource,
        *,
        metadata: Mapping[str, Any] | None = None,
        captured_at: datetime | None = None,
        consent: schemas.Consent | None = None,
        force: bool = False,
        idempotency_key: str | None = None,
    ) -> schemas.Enrolled:
        """Enrol a walk of a subject, new or not; `force` accepts a walk of poor quality."""
        call = calls.enroll(
            subject,
            walk,
            metadata,
            captured_at=captured_at,
            consent=consent,
            force=force,
            key=idempotency_key,
        )
        return await self._do(call)

    async def identify(
        self,
        walk: WalkSource,
        *,
        limit: int = 5,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> schemas.Identified:
        """Find the subjects nearest to a walk; a `view` in `metadata` is compared with theirs."""
        return await self._do(calls.identify(walk, limit, metadata, idempotency_key))

    async def identify_batch(
        self,
        walks: Sequence[WalkSource],
        *,
        limit: int = 5,
        idempotency_key: str | None = None,
    ) -> tuple[schemas.BatchItem, ...]:
        """Identify up to 64 walks in one call; each gets its own answer or problem."""
        return (await self._do(calls.identify_batch(walks, limit, idempotency_key))).items

    async def verify(
        self,
        subject: str,
        walk: WalkSource,
        *,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> schemas.Verified:
        """Compare a walk with one subject."""
        return await self._do(calls.verify(subject, walk, metadata, idempotency_key))

    async def subjects(self, *, limit: int = 50, after: str | None = None) -> schemas.Subjects:
        """Return one page of subjects."""
        return await self._do(calls.subjects(limit, after))

    async def subject(
        self, subject: str, *, limit: int = 500, after: str | None = None
    ) -> schemas.SubjectDetail:
        """Return a subject with one page of its samples."""
        return await self._do(calls.subject(subject, limit, after))

    async def erase_subject(self, subject: str) -> schemas.Erased:
        """Erase a subject and all its samples for good."""
        return await self._do(calls.erase_subject(subject))

    async def erase_sample(self, sample_id: str) -> schemas.Erased:
        """Erase one sample for good."""
        return await self._do(calls.erase_sample(sample_id))

    async def info(self) -> schemas.Info:
        """Return what the service runs."""
        return await self._do(calls.info())

    async def ready(self) -> schemas.Ready:
        """Ask once whether the service is ready; raises RefusedError if it is not yet."""
        return await self._do(calls.ready())

    async def _do(self, call: Call[B]) -> B:
        attempts = self._attempts(call)
        while True:
            try:
                response = await self._http.request(call.method, call.path, **call.options)
            except httpx.RequestError as error:
                wait_s = attempts.after_loss(error)
            else:
                again_s = attempts.after_answer(response)
                if again_s is None:
                    return attempts.answer(response)
                wait_s = again_s
            await (self._wait or asyncio.sleep)(wait_s)
