"""Stored answers, so that a request sent twice under one Idempotency-Key is worked on once.

A caller that lost the answer sends the request again, and gets the first answer. Stored are a
digest of the request and its answer as JSON: ids, distances and counts, no silhouettes and no
embedding. Answers stay in this process for an hour, at most a thousand of them and 16 MB. When
there are more, the caller with the most loses its oldest. An erasure forgets them all.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from service.errors import IdempotencyError, InWorkError
from service.uploads import Upload

KEPT = 1000
KEPT_BYTES = 16 * 1024 * 1024
SECONDS = 3600.0
_CHUNK = 1024 * 1024
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True)
class _Answer:
    digest: str
    text: bytes
    at: float


class _Shelf:
    """The answers stored for one caller, oldest first."""

    def __init__(self) -> None:
        self.answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self.bytes = 0

    def put(self, name: Hashable, answer: _Answer) -> None:
        self.answers[name] = answer
        self.bytes += len(answer.text)

    def drop_oldest(self) -> None:
        _, answer = self.answers.popitem(last=False)
        self.bytes -= len(answer.text)

    def drop_until(self, at: float) -> None:
        while self.answers and next(iter(self.answers.values())).at <= at:
            self.drop_oldest()


class Answers:
    """The recent answers; belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shelves: dict[Hashable, _Shelf] = {}
        self._in_work: dict[tuple[Hashable, Hashable], str] = {}
        """Digests of requests that are not answered yet; one at most for each waiting caller."""
        self._erasures = 0

    async def once(
        self,
        caller: Hashable,
        name: Hashable,
        digest: str,
        body: type[B],
        work: Callable[[], Awaitable[B]],
        *,
        keep: Callable[[B], bool],
    ) -> B:
        """Do the work, or return the answer that the caller's request under this name had.

        Neither a failure nor an answer that `keep` rejects is stored.

        Raises:
            IdempotencyError: the name was used for another request.
            InWorkError: it was used for this request, which is still being worked on.

        """
        self._make_room()
        if (known := self._known(caller, name, digest)) is not None:
            return body.model_validate_json(known)
        begun, erasures = (caller, name), self._erasures
        self._in_work[begun] = digest
        try:
            answer = await work()
        finally:
            del self._in_work[begun]
        if self._erasures == erasures and keep(answer):
            shelf = self._shelves.setdefault(caller, _Shelf())
            shelf.put(name, _Answer(digest, answer.model_dump_json().encode(), self._clock()))
        return answer

    def clear(self) -> None:
        """Forget all answers, also of requests still in work, because somebody was erased."""
        self._shelves.clear()
        self._erasures += 1

    def _known(self, caller: Hashable, name: Hashable, digest: str) -> bytes | None:
        if (begun := self._in_work.get((caller, name))) is not None:
            _require_same(begun, digest)
            raise InWorkError("the first request with this Idempotency-Key is still in work")
        shelf = self._shelves.get(caller)
        kept = None if shelf is None else shelf.answers.get(name)
        if kept is None:
            return None
        _require_same(kept.digest, digest)
        return kept.text

    def _make_room(self) -> None:
        oldest = self._clock() - SECONDS
        for shelf in self._shelves.values():
            shelf.drop_until(oldest)
        self._shelves = {caller: shelf for caller, shelf in self._shelves.items() if shelf.answers}
        while sum(len(shelf.answers) for shelf in self._shelves.values()) >= KEPT:
            max(self._shelves.values(), key=lambda shelf: len(shelf.answers)).drop_oldest()
        while sum(shelf.bytes for shelf in self._shelves.values()) > KEPT_BYTES:
            max(self._shelves.values(), key=lambda shelf: shelf.bytes).drop_oldest()


def digest_of(upload: Upload) -> str:
    """Hash the text fields and files of a request, independent of how they were encoded."""
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


def _require_same(known: str, digest: str) -> None:
    if known != digest:
        raise IdempotencyError(
            "expected the same request as the first with this Idempotency-Key, got another"
        )
