"""The base of both Python clients: how a service is reached, and when a call is repeated.

If the service is busy, or still at work on the same request, the call is repeated after the time
that it names; after a refused or lost connection, in a second. Nothing is done twice: a call only
reads, carries an Idempotency-Key, or sets or deletes what it names. One that timed out is not
repeated, because the service may still be at work on it.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from service.client.calls import Call
from service.errors import AnswerLostError, NoKeyError, RefusedError, UnreachableError
from service.keyring import is_loopback

RETRIES = 2
"""How often a call is repeated."""
_LONGEST_WAIT_S = 30.0
# If the service names no time.
_WAIT_S = 1.0
_COME_BACK = frozenset({429, 503})
_LOST = (httpx.NetworkError, httpx.RemoteProtocolError)
B = TypeVar("B", bound=BaseModel)
H = TypeVar("H", httpx.Client, httpx.AsyncClient)
T = TypeVar("T", httpx.BaseTransport, httpx.AsyncBaseTransport)


class Calling(Generic[H, T]):
    """A client of one service: its connections and retries."""

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
            key: an API key, `mg_<id>_<secret>`; None for a service without keys.
            gallery: name of the gallery; None for the service's own.
            timeout_s: seconds that one request may take.
            retries: how often a call is repeated if the service asks to come back later, or the
                connection is refused or lost.
            wait: waits so many seconds before a repetition, instead of sleeping.
            transport: carries the requests instead of the network.

        Raises:
            UnreachableError: the URL is not a valid HTTP one.
            NoKeyError: the key is not one line of ASCII.

        """
        self._url, host = url, _checked_host(url)
        self._retries = retries
        self._wait = wait
        self._http: H = self._connected(
            base_url=url,
            headers={} if key is None else {"Authorization": f"Bearer {_checked_key(key)}"},
            params={} if gallery is None else {"gallery": _sent(gallery)},
            timeout=timeout_s,
            transport=transport,
            # A service on this machine is not behind the proxy that the environment may name.
            mounts={f"all://{_in_url(host)}": None} if is_loopback(host) else None,
        )

    def _connected(self, **options: Any) -> H:
        """Open an httpx client of the subclass's kind."""
        raise NotImplementedError

    def _attempts(self, call: Call[B]) -> "Attempts[B]":
        return Attempts(call, self._url, self._retries)


class Attempts(Generic[B]):
    """The attempts at one call: told how each ended, decides whether there is another."""

    def __init__(self, call: Call[B], url: str, retries: int) -> None:
        self._call = call
        self._url = url
        self._left = retries if call.may_repeat else 0
        self._may_be_done = False

    def after_loss(self, error: httpx.RequestError) -> float:
        """Return the seconds to wait before the next attempt; raises UnreachableError if none."""
        if isinstance(error, httpx.ReadTimeout):
            raise UnreachableError(
                f"expected an answer from {self._url} within the `timeout_s` of the client, got "
                "none yet: the service may still be at work on it"
            ) from error
        if self._left == 0 or not isinstance(error, _LOST):
            raise UnreachableError(f"nothing answers at {self._url}: {error}") from error
        self._left -= 1
        # Without a connection the service never got the request.
        self._may_be_done |= not isinstance(error, httpx.ConnectError)
        return _WAIT_S

    def after_answer(self, response: httpx.Response) -> float | None:
        """Return the seconds to wait before the next attempt; None if the answer is final."""
        asked = response.headers.get("retry-after", "")
        # A 409 names a time only while the first request is in work; any other 409 is final.
        comes_back = response.status_code in _COME_BACK or (response.status_code == 409 and asked)
        if not comes_back or self._left == 0:
            return None
        self._left -= 1
        # HTTP also allows a date, which this service never sends.
        return min(float(asked), _LONGEST_WAIT_S) if asked.isdecimal() else _WAIT_S

    def answer(self, response: httpx.Response) -> B:
        """Return the body of the final answer.

        Raises:
            RefusedError: it is a problem.
            UnreachableError: it is not from a metagait that this client knows.

        """
        if response.is_success:
            return self._read(response)
        try:
            problem = response.json()
            code, detail = str(problem["code"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            code, detail = "unknown", response.reason_phrase
        is_lost = self._may_be_done and code == self._call.gone
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
    """Return the host of an HTTP URL."""
    if not url.isprintable():  # an argument of a command may be any bytes
        raise UnreachableError(f"expected a URL of printable characters, got {url!r}")
    if not url.startswith(("http://", "https://")):
        raise UnreachableError(f"expected a URL that begins with http:// or https://, got {url!r}")
    try:
        return httpx.URL(url).host
    except httpx.InvalidURL as error:
        raise UnreachableError(f"expected a URL such as http://name:8000, got {url!r}") from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _sent(name: str) -> str:
    """Spell out what is no text in a name from a command line; no gallery is called so."""
    return name.encode("utf-8", "backslashreplace").decode()


def _checked_key(key: str) -> str:
    """Strip a key file's line end, and check the key; no error ever shows it."""
    key = key.strip()
    if not key:
        raise NoKeyError("expected an API key, got an empty text")
    if not (key.isascii() and key.isprintable()):
        raise NoKeyError("expected an API key of one line of ASCII, got another text")
    return key
