"""An enrolment that is sent twice under one Idempotency-Key is answered once.

A caller that lost the answer sends the request again; the first answer comes back. Kept are a
digest of the request and the answer to it: ids and counts, no silhouettes and no embedding. The
answers are this process's own, at most a thousand, for an hour; an erasure forgets them all.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from service.errors import IdempotencyError
from service.schemas import Enrolled
from service.uploads import Upload

KEPT = 1000
SECONDS = 3600.0
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class _Answer:
    digest: str
    enrolled: Enrolled | None
    """None while the first request is in work."""
    at: float


class Answers:
    """The answers of late; belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()

    async def once(
        self, name: Hashable, digest: str, work: Callable[[], Awaitable[Enrolled]]
    ) -> Enrolled:
        """Do the work, or give the answer that it had under this name; a failure is not kept.

        Raises:
            IdempotencyError: the name came with another body, or its work is not done yet.

        """
        self._forget_old()
        known = self._answers.get(name)
        if known is not None:
            return _same(known, digest)
        self._answers[name] = _Answer(digest, None, self._clock())
        try:
            enrolled = await work()
        except (Exception, asyncio.CancelledError):
            self._answers.pop(name, None)
            raise
        if name in self._answers:
            self._answers[name] = _Answer(digest, enrolled, self._clock())
        return enrolled

    def clear(self) -> None:
        """Forget everything, because somebody was erased."""
        self._answers.clear()

    def _forget_old(self) -> None:
        oldest = self._clock() - SECONDS
        while self._answers:
            name, answer = next(iter(self._answers.items()))
            if len(self._answers) < KEPT and answer.at > oldest:
                return
            del self._answers[name]


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


def _same(known: _Answer, digest: str) -> Enrolled:
    if known.digest != digest:
        raise IdempotencyError("expected the body that this Idempotency-Key came with, got another")
    if known.enrolled is None:
        raise IdempotencyError("the first request with this Idempotency-Key is still in work")
    return known.enrolled
