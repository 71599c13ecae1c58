"""The client for an event loop: the calls of `service.client.blocking`, awaited."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from service import schemas
from service.client import calls
from service.client.calling import Calling
from service.client.calls import Call
from service.client.walk_files import WalkSource

B = TypeVar("B", bound=BaseModel)


class AsyncClient(Calling[httpx.AsyncClient, httpx.AsyncBaseTransport]):
    """Calls one service from an event loop. Its methods raise the same errors as `Client`'s.

    Walks are read and packed in other threads, so that the loop goes on.
    """

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
        call = await asyncio.to_thread(
            calls.enroll,
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
        call = await asyncio.to_thread(calls.identify, walk, limit, metadata, idempotency_key)
        return await self._do(call)

    async def identify_batch(
        self,
        walks: Sequence[WalkSource],
        *,
        limit: int = 5,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[schemas.BatchItem, ...]:
        """Identify up to 64 walks in one call; each gets its own answer or problem.

        `metadata` holds for every walk.
        """
        call = await asyncio.to_thread(
            calls.identify_batch, walks, limit, metadata, idempotency_key
        )
        return (await self._do(call)).items

    async def verify(
        self,
        subject: str,
        walk: WalkSource,
        *,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> schemas.Verified:
        """Compare a walk with one subject."""
        call = await asyncio.to_thread(calls.verify, subject, walk, metadata, idempotency_key)
        return await self._do(call)

    async def preview(self, walk: WalkSource) -> schemas.Preview:
        """Show a walk as the model sees it, and its quality; nothing is stored."""
        return await self._do(await asyncio.to_thread(calls.preview, walk))

    async def subjects(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        expired: bool = False,
        search: str = "",
    ) -> schemas.Subjects:
        """Return one page of subjects: all, or those that are searched for.

        Args:
            limit: most subjects of the page.
            after: the `next` of the page before. A page may have one though it holds nobody.
            expired: only subjects with a consent that has expired.
            search: a part of the id, whatever its case and accents.

        """
        return await self._do(calls.subjects(limit, after, expired=expired, search=search))

    async def subject(
        self, subject: str, *, limit: int = 500, after: str | None = None
    ) -> schemas.SubjectDetail:
        """Return a subject with one page of its samples."""
        return await self._do(calls.subject(subject, limit, after))

    async def record_consent(self, subject: str, consent: schemas.Consent) -> schemas.Consent:
        """Record why a subject may be kept; replaces what was recorded before."""
        return await self._do(calls.record_consent(subject, consent))

    async def erase_subject(self, subject: str) -> schemas.Erased:
        """Erase a subject and all its samples for good."""
        return await self._do(calls.erase_subject(subject))

    async def erase_sample(self, sample_id: str) -> schemas.Erased:
        """Erase one sample for good."""
        return await self._do(calls.erase_sample(sample_id))

    async def receipt(self, receipt_id: str) -> schemas.Receipt:
        """Return the receipt of an erasure again, without its salt."""
        return await self._do(calls.receipt(receipt_id))

    async def walk(self, sample_id: str) -> schemas.Picture:
        """Return the silhouettes of a sample, in one picture."""
        return await self._do(calls.walk(sample_id))

    async def galleries(self) -> schemas.Galleries:
        """Return the galleries that the key is for."""
        return await self._do(calls.galleries())

    async def gallery(self, name: str) -> schemas.GalleryDetail:
        """Return the size, settings and calibration of a gallery."""
        return await self._do(calls.gallery(name))

    async def make_gallery(self, name: str) -> schemas.GalleryDetail:
        """Make a gallery; one that exists is left as it is."""
        return await self._do(calls.make_gallery(name))

    async def change_gallery(
        self, name: str, changes: schemas.GalleryChanges
    ) -> schemas.GalleryDetail:
        """Change some settings of a gallery."""
        return await self._do(calls.change_gallery(name, changes))

    async def delete_gallery(self, name: str) -> schemas.Galleries:
        """Delete a gallery in which nobody is enrolled; returns those that are left."""
        return await self._do(calls.delete_gallery(name))

    async def calibrate(
        self, target_fpir: float = 0.01, *, idempotency_key: str | None = None
    ) -> schemas.Calibration:
        """Measure the threshold for a wanted FPIR; it decides from then on."""
        return await self._do(calls.calibrate(target_fpir, idempotency_key))

    async def rebuild(
        self, model: str | None = None, *, idempotency_key: str | None = None
    ) -> schemas.Job:
        """Begin to move the gallery to another model, None for the service's; see `job`."""
        return await self._do(calls.rebuild(model, idempotency_key))

    async def jobs(self) -> tuple[schemas.Job, ...]:
        """Return the latest rebuilds, the last one first."""
        return (await self._do(calls.jobs())).jobs

    async def job(self, job_id: str) -> schemas.Job:
        """Return how far a rebuild has come, or how it ended."""
        return await self._do(calls.job(job_id))

    async def cancel_job(self, job_id: str) -> schemas.Job:
        """Stop a rebuild soon, unless it has ended."""
        return await self._do(calls.cancel_job(job_id))

    async def info(self) -> schemas.Info:
        """Return what the service runs."""
        return await self._do(calls.info())

    async def alive(self) -> schemas.Alive:
        """Ask once whether the service is alive, ready or not."""
        return await self._do(calls.alive())

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
