"""A typed Python client of a running service, synchronous and asynchronous.

    with Client("http://127.0.0.1:8000", key="mg_…") as client:
        client.enroll("p-017", Path("walks/p-017.zip"))
        print(client.identify(silhouettes).decision)

    async with AsyncClient("http://127.0.0.1:8000") as client:
        print((await client.identify(silhouettes)).decision)

A walk is a file that the service reads, a folder of pictures, a list of pictures, or an array. A
service that is busy (429 or 503), or at work on the same request (409), is asked again after the
time that it names.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

import httpx
from pydantic import BaseModel

from service import calls, schemas
from service.calls import Call, WalkSource
from service.errors import NoKeyError, RefusedError, UnreachableError
from service.keyring import is_loopback

RETRIES = 2
"""How often a call is sent again when the service asks to come back later."""
_LONGEST_WAIT_S = 30.0
_COME_BACK = frozenset({429, 503})
B = TypeVar("B", bound=BaseModel)
H = TypeVar("H", httpx.Client, httpx.AsyncClient)
T = TypeVar("T", httpx.BaseTransport, httpx.AsyncBaseTransport)


class _Calling(Generic[H, T]):
    """What both clients are made of: a service, a key, and how long to wait."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        gallery: str | None = None,
        timeout_s: float = 60,
        retries: int = RETRIES,
        wait: Callable[[float], Any] | None = None,
        transport: T | None = None,
    ) -> None:
        """Prepare to call; nothing is sent yet.

        Args:
            url: where the service is, for instance `http://127.0.0.1:8000`.
            key: an API key, `mg_<id>_<secret>`; none for a service without keys.
            gallery: name of the gallery; None for the service's own.
            timeout_s: seconds that one request may take.
            retries: how often a call is sent again when the service asks to come back later.
            wait: waits so many seconds before a call is sent again, instead of sleeping.
            transport: what carries the requests, instead of the network.

        Raises:
            UnreachableError: the URL is none of HTTP.
            NoKeyError: the key cannot be sent.

        """
        self._url, host = url, _checked_host(url)
        self._retries = retries
        self._wait = wait
        self._http: H = self._connected(
            base_url=url,
            headers={} if key is None else {"Authorization": f"Bearer {_checked_key(key)}"},
            params={} if gallery is None else {"gallery": gallery},
            timeout=timeout_s,
            transport=transport,
            # What is on this machine is not behind the proxy that the environment may name.
            mounts={f"all://{_in_url(host)}": None} if is_loopback(host) else None,
        )

    def _connected(self, **options: Any) -> H:
        """Make the connections of a kind."""
        raise NotImplementedError


class Client(_Calling[httpx.Client, httpx.BaseTransport]):
    """Calls one service. Every method raises UnreachableError or RefusedError."""

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
    ) -> schemas.Enrolled:
        """Enrol a walk of a subject, who is made when new; `force` takes one of poor quality."""
        return self._do(
            calls.enroll(
                subject, walk, metadata, captured_at=captured_at, consent=consent, force=force
            )
        )

    def identify(
        self, walk: WalkSource, *, limit: int = 5, metadata: Mapping[str, Any] | None = None
    ) -> schemas.Identified:
        """Find the subjects nearest to a walk; its `view` is compared with theirs."""
        return self._do(calls.identify(walk, limit, metadata))

    def identify_batch(
        self, walks: Sequence[WalkSource], *, limit: int = 5
    ) -> tuple[schemas.BatchItem, ...]:
        """Identify up to 64 walks in one call; each has its answer or its problem."""
        return self._do(calls.identify_batch(walks, limit)).items

    def verify(
        self, subject: str, walk: WalkSource, *, metadata: Mapping[str, Any] | None = None
    ) -> schemas.Verified:
        """Compare a walk with one subject."""
        return self._do(calls.verify(subject, walk, metadata))

    def subjects(self, *, limit: int = 50, after: str | None = None) -> schemas.Subjects:
        """List one page of subjects."""
        return self._do(calls.subjects(limit, after))

    def subject(
        self, subject: str, *, limit: int = 500, after: str | None = None
    ) -> schemas.SubjectDetail:
        """Show a subject with one page of its samples."""
        return self._do(calls.subject(subject, limit, after))

    def erase_subject(self, subject: str) -> schemas.Erased:
        """Erase a subject and all its samples for good."""
        return self._do(calls.erase_subject(subject))

    def erase_sample(self, sample_id: str) -> schemas.Erased:
        """Erase one sample for good."""
        return self._do(calls.erase_sample(sample_id))

    def info(self) -> schemas.Info:
        """Ask what runs there."""
        return self._do(calls.info())

    def ready(self) -> schemas.Ready:
        """Ask once whether the service is ready; RefusedError when it is not yet."""
        return self._do(calls.ready())

    def _do(self, call: Call[B]) -> B:
        for attempt in range(1 + self._retries):
            try:
                response = self._http.request(call.method, call.path, **call.options)
            except httpx.TransportError as error:
                raise UnreachableError(f"nothing answers at {self._url}: {error}") from error
            wait_s = _wait_s(response, call, attempt, self._retries)
            if wait_s is None:
                break
            (self._wait or time.sleep)(wait_s)
        return _answer(response, call)


class AsyncClient(_Calling[httpx.AsyncClient, httpx.AsyncBaseTransport]):
    """Calls one service from an event loop. Every method raises as `Client`'s does."""

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
    ) -> schemas.Enrolled:
        """Enrol a walk of a subject, who is made when new; `force` takes one of poor quality."""
        return await self._do(
            calls.enroll(
                subject, walk, metadata, captured_at=captured_at, consent=consent, force=force
            )
        )

    async def identify(
        self, walk: WalkSource, *, limit: int = 5, metadata: Mapping[str, Any] | None = None
    ) -> schemas.Identified:
        """Find the subjects nearest to a walk; its `view` is compared with theirs."""
        return await self._do(calls.identify(walk, limit, metadata))

    async def identify_batch(
        self, walks: Sequence[WalkSource], *, limit: int = 5
    ) -> tuple[schemas.BatchItem, ...]:
        """Identify up to 64 walks in one call; each has its answer or its problem."""
        return (await self._do(calls.identify_batch(walks, limit))).items

    async def verify(
        self, subject: str, walk: WalkSource, *, metadata: Mapping[str, Any] | None = None
    ) -> schemas.Verified:
        """Compare a walk with one subject."""
        return await self._do(calls.verify(subject, walk, metadata))

    async def subjects(self, *, limit: int = 50, after: str | None = None) -> schemas.Subjects:
        """List one page of subjects."""
        return await self._do(calls.subjects(limit, after))

    async def subject(
        self, subject: str, *, limit: int = 500, after: str | None = None
    ) -> schemas.SubjectDetail:
        """Show a subject with one page of its samples."""
        return await self._do(calls.subject(subject, limit, after))

    async def erase_subject(self, subject: str) -> schemas.Erased:
        """Erase a subject and all its samples for good."""
        return await self._do(calls.erase_subject(subject))

    async def erase_sample(self, sample_id: str) -> schemas.Erased:
        """Erase one sample for good."""
        return await self._do(calls.erase_sample(sample_id))

    async def info(self) -> schemas.Info:
        """Ask what runs there."""
        return await self._do(calls.info())

    async def ready(self) -> schemas.Ready:
        """Ask once whether the service is ready; RefusedError when it is not yet."""
        return await self._do(calls.ready())

    async def _do(self, call: Call[B]) -> B:
        for attempt in range(1 + self._retries):
            try:
                response = await self._http.request(call.method, call.path, **call.options)
            except httpx.TransportError as error:
                raise UnreachableError(f"nothing answers at {self._url}: {error}") from error
            wait_s = _wait_s(response, call, attempt, self._retries)
            if wait_s is None:
                break
            await (self._wait or asyncio.sleep)(wait_s)
        return _answer(response, call)


def _checked_host(url: str) -> str:
    """Take the host out of a URL of HTTP."""
    if not url.startswith(("http://", "https://")):
        raise UnreachableError(f"expected a URL that begins with http:// or https://, got {url!r}")
    try:
        return httpx.URL(url).host
    except httpx.InvalidURL as error:
        raise UnreachableError(f"expected a URL such as http://name:8000, got {url!r}") from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _checked_key(key: str) -> str:
    """Take off the end of line that a file leaves; a key is never told in an error."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise NoKeyError("expected an API key of one line of ASCII, got another text")
    return key


def _wait_s(response: httpx.Response, call: Call[Any], attempt: int, retries: int) -> float | None:
    """Seconds to wait before the call is sent again; None when it is not to be."""
    asked = response.headers.get("retry-after", "")
    # A 409 names a time while its first request is in work, and none when it will never do.
    comes_back = response.status_code in _COME_BACK or (response.status_code == 409 and asked)
    if not comes_back or not call.may_repeat or attempt == retries:
        return None
    # A date is allowed as well; this service never names one.
    return min(float(asked), _LONGEST_WAIT_S) if asked.isdecimal() else 1.0


def _answer(response: httpx.Response, call: Call[B]) -> B:
    if response.is_success:
        return call.body.model_validate_json(response.content)
    try:
        problem = response.json()
        raise RefusedError(response.status_code, problem["code"], problem["detail"])
    except (ValueError, KeyError, TypeError):
        raise RefusedError(response.status_code, "unknown", response.reason_phrase) from None
