"""What both clients are made of: how a service is reached, and when a call is sent again.

A service that is busy, or at work on the same request, is asked again after the time that it names;
one that refuses the connection, or loses it, after a second. Nothing is done twice by that: what is
asked is only read, or carries an Idempotency-Key, or is an erasure. A request that took too long is
not sent again, because the service may be at work on it still.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from service.calls import Call
from service.errors import AnswerLostError, NoKeyError, RefusedError, UnreachableError
from service.keyring import is_loopback

RETRIES = 2
"""How often a call is sent again."""
_LONGEST_WAIT_S = 30.0
# Where the service names no time.
_WAIT_S = 1.0
_COME_BACK = frozenset({429, 503})
_LOST = (httpx.NetworkError, httpx.RemoteProtocolError)
# What an erasure is answered when there is nothing to erase, or no more.
_GONE = frozenset({"subject_not_found", "sample_not_found"})
B = TypeVar("B", bound=BaseModel)
H = TypeVar("H", httpx.Client, httpx.AsyncClient)
T = TypeVar("T", httpx.BaseTransport, httpx.AsyncBaseTransport)


class Calling(Generic[H, T]):
    """A service, a key, and how long to wait."""

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
            retries: how often a call is sent again, when the service asks to come back later or
                the connection is refused or lost.
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

    def _attempts(self, call: Call[B]) -> "Attempts[B]":
        return Attempts(call, self._url, self._retries)


class Attempts(Generic[B]):
    """The attempts at one call: told how each ended, it tells whether there is another."""

    def __init__(self, call: Call[B], url: str, retries: int) -> None:
        self._call = call
        self._url = url
        self._left = retries if call.may_repeat else 0
        self._may_be_done = False

    def after_loss(self, error: httpx.RequestError) -> float:
        """Seconds to wait before the call is sent again; raises UnreachableError when it is not."""
        if self._left == 0 or not isinstance(error, _LOST):
            raise UnreachableError(f"nothing answers at {self._url}: {error}") from error
        self._left -= 1
        # Where no connection came about, nothing was asked.
        self._may_be_done |= not isinstance(error, httpx.ConnectError)
        return _WAIT_S

    def after_answer(self, response: httpx.Response) -> float | None:
        """Seconds to wait before the call is sent again; None when it is not to be."""
        asked = response.headers.get("retry-after", "")
        # A 409 names a time while its first request is in work, and none when it will never do.
        comes_back = response.status_code in _COME_BACK or (response.status_code == 409 and asked)
        if not comes_back or self._left == 0:
            return None
        self._left -= 1
        # A date is allowed as well; this service never names one.
        return min(float(asked), _LONGEST_WAIT_S) if asked.isdecimal() else _WAIT_S

    def answer(self, response: httpx.Response) -> B:
        """Read the last answer.

        Raises:
            RefusedError: it is a problem.
            UnreachableError: it is none of a metagait, or of one that this client does not know.

        """
        if response.is_success:
            return self._read(response)
        try:
            problem = response.json()
            code, detail = str(problem["code"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            code, detail = "unknown", response.reason_phrase
        is_lost = self._may_be_done and self._call.method == "DELETE" and code in _GONE
        raise (AnswerLostError if is_lost else RefusedError)(response.status_code, code, detail)

    def _read(self, response: httpx.Response) -> B:
        try:
            return self._call.body.model_validate_json(response.content)
        except ValidationError as error:
            kind = response.headers.get("content-type", "no content type")[:80]
            raise UnreachableError(
                f"expected a metagait at {self._url}, of this client's version, got another answer "
                f"({response.status_code}, {kind})"
            ) from error


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
