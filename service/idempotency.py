"""A request that is sent twice under one Idempotency-Key is worked on once.

A caller that lost the answer sends the request again; the first answer comes back. Kept are a
digest of the request and the answer to it as JSON: ids, distances and counts, no silhouettes and no
embedding. The answers are this process's own, for an hour, at most a thousand and 16 MB of them; an
erasure forgets them all.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from service.errors import IdempotencyError
from service.uploads import Upload

KEPT = 1000
KEPT_BYTES = 16 * 1024 * 1024
SECONDS = 3600.0
_CHUNK = 1024 * 1024
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True)
class _Answer:
    digest: str
    text: bytes | None
    """None while the first request is in work."""
    at: float

    @property
    def size(self) -> int:
        return len(self.text or b"")


class Answers:
    """The answers of late; belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._bytes = 0

    async def once(
        self, name: Hashable, digest: str, body: type[B], work: Callable[[], Awaitable[B]]
    ) -> B:
        """Do the work, or give the answer that it had under this name; a failure is not kept.

        Raises:
            IdempotencyError: the name came with another request, or its work is not done yet.

        """
        self._forget_old()
        known = self._answers.get(name)
        if known is not None:
            return body.model_validate_json(_same(known, digest))
        self._keep(name, _Answer(digest, None, self._clock()))
        try:
            answer = await work()
        except (Exception, asyncio.CancelledError):
            self._forget(name)
            raise
        if name in self._answers:
            self._forget(name)
            self._keep(name, _Answer(digest, answer.model_dump_json().encode(), self._clock()))
        return answer

    def clear(self) -> None:
        """Forget everything, because somebody was erased."""
        self._answers.clear()
        self._bytes = 0

    def _keep(self, name: Hashable, answer: _Answer) -> None:
        self._answers[name] = answer
        self._bytes += answer.size

    def _forget(self, name: Hashable) -> None:
        answer = self._answers.pop(name, None)
        self._bytes -= 0 if answer is None else answer.size

    def _forget_old(self) -> None:
        oldest = self._clock() - SECONDS
        while self._answers:
            name, answer = next(iter(self._answers.items()))
            fits = len(self._answers) < KEPT and self._bytes <= KEPT_BYTES
            if fits and answer.at > oldest:
                return
            self._forget(name)


def digest_of(upload: Upload) -> str:
    """Hash what a request says, its text fields and its files, however it says it."""
    digest = hashlib.sha256()
    for name, value in sorted(upload.fields.items()):
        digest.update(f"{name} {len(value.encode())} {value}".encode())
    for file in (upload.sequence, *upload.more, *upload.frames):
        if file is not None:
            digest.update(f"file {file.seek(0, 2)} ".encode())
            file.seek(0)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            file.seek(0)
    return digest.hexdigest()


def _same(known: _Answer, digest: str) -> bytes:
    if known.digest != digest:
        raise IdempotencyError(
            "expected the request that this Idempotency-Key came with, got another"
        )
    if known.text is None:
        raise IdempotencyError("the first request with this Idempotency-Key is still in work")
    return known.text
