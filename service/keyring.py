"""Finds out who sends a request: checks API keys in memory, and limits the rate of each.

The keys are read from the store at most every two seconds, so a flood of wrong keys never reaches
the database, and a key that any process revokes stops working two seconds later.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from gallery import ApiKey, StoreUnavailable, is_secret_of, parse_key
from service.errors import AuthenticationError, RateLimitedError

FRESH_S = 2.0
"""Seconds for which the keys that were last read are trusted."""
WAIT_S = 5.0
"""Seconds that a request waits for the keys, lest a store that hangs hold every request."""
_LOG = logging.getLogger("metagait.service")


@dataclass(frozen=True)
class Caller:
    """Who sends a request, and what the key allows."""

    name: str
    key_id: str | None
    """None for a caller on this machine when the service has no keys."""
    scopes: frozenset[str] | None
    """None for all scopes."""
    galleries: frozenset[str] | None
    """None for all galleries."""

    @property
    def actor(self) -> str:
        """Return the caller's name in the audit log: the id of the key, or `local`."""
        return self.key_id or self.name

    def may(self, scope: str) -> bool:
        """Tell whether the key has a scope."""
        return self.scopes is None or scope in self.scopes

    def may_touch(self, gallery: str) -> bool:
        """Tell whether the key may be used for a gallery."""
        return self.galleries is None or gallery in self.galleries


LOCAL = Caller("local", None, None, None)
"""Anybody on this machine, while the service listens on loopback and has no keys."""


class KeyRing:
    """The keys as last read, and a token bucket for each key with a rate."""

    def __init__(
        self,
        read: Callable[[], tuple[ApiKey, ...]],
        *,
        open_without_keys: bool,
        threads: Executor | None = None,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare to read the keys.

        Args:
            read: reads all keys.
            open_without_keys: whether to admit anybody while there is no key.
            threads: where `read` runs; asyncio's own by default, which others may fill.
            wait_s: seconds that a request waits for the keys.
            clock: returns seconds, for rates and the age of the keys.
            today: returns the time against which a key's expiry is checked.

        """
        self._read = read
        self._open_without_keys = open_without_keys
        self._threads = threads
        self._clock = clock
        self._today = today
        self._keys: Mapping[str, ApiKey] = {}
        self._are_shared = False
        self._buckets: dict[str, _Bucket] = {}
        self._read_at = -math.inf
        self._reading: asyncio.Task[None] | None = None
        self._wait_s = wait_s

    async def admit(self, authorization: str | None) -> Caller:
        """Return the caller of a request by its Authorization header.

        Raises:
            AuthenticationError: there is no key, or one that is unknown, expired or revoked.
            RateLimitedError: the key has used up its rate.
            StoreUnavailable: the keys cannot be read.

        """
        await self._refresh()
        if not self._keys and self._open_without_keys:
            return LOCAL
        key = self._authenticated(authorization)
        self._spend(key)
        return Caller(key.name, key.key_id, key.scopes, key.galleries)

    def sharer(self, caller: Caller) -> str | None:
        """Return who shares the service with other keys; None if there is no other live one."""
        return caller.key_id if self._are_shared else None

    def charge(self, caller: Caller, requests: int) -> None:
        """Count a request in work as so many more; what the rate lacks is owed by the next ones."""
        key = None if caller.key_id is None else self._keys.get(caller.key_id)
        if key is not None and key.per_minute is not None:
            self._bucket_of(key, key.per_minute).owe(requests)

    async def _refresh(self) -> None:
        """Read the keys unless they are fresh; concurrent requests share one reading."""
        if self._clock() - self._read_at < FRESH_S:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_keys(), name="keys")
            # Waiting requests get its error; if none waits, asyncio must not complain.
            self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(self._wait_s):
                await asyncio.shield(self._reading)
        except TimeoutError as error:
            # The previous keys will not do: one of them may have been revoked.
            raise StoreUnavailable(
                f"expected the API keys within {self._wait_s:g} seconds, got no answer"
            ) from error

    async def _read_keys(self) -> None:
        began = self._clock()
        try:
            keys = await asyncio.get_running_loop().run_in_executor(self._threads, self._read)
        finally:
            self._reading = None
        before, self._keys = self._keys, {key.key_id: key for key in keys}
        for key in keys:
            if key.is_damaged and before.get(key.key_id) != key:
                _LOG.warning(
                    "the API key %s cannot be read any more, and opens nothing: make another one, "
                    "and revoke it",
                    key.key_id,
                )
        kept = self._buckets.keys() & self._keys.keys()
        self._buckets = {key_id: self._buckets[key_id] for key_id in kept}
        self._are_shared = sum(key.is_live(self._today()) for key in keys) > 1
        self._read_at = began

    def _authenticated(self, authorization: str | None) -> ApiKey:
        scheme, _, text = (authorization or "").partition(" ")
        parsed = parse_key(text.strip()) if scheme.lower() == "bearer" else None
        if parsed is None:
            raise AuthenticationError(
                "expected the header `Authorization: Bearer mg_<id>_<secret>`, got "
                + ("another one" if authorization else "none")
            )
        key_id, secret = parsed
        key = self._keys.get(key_id)
        fits = is_secret_of(secret, key)
        if key is None or not fits or not key.is_live(self._today()):
            raise AuthenticationError(
                "expected a live API key, got one that is unknown, expired or revoked"
            )
        return key

    def _spend(self, key: ApiKey) -> None:
        if key.per_minute is None:
            return
        wait_s = self._bucket_of(key, key.per_minute).take(self._clock())
        if wait_s > 0:
            raise RateLimitedError(
                f"expected at most {key.per_minute} requests a minute with this key, got more",
                retry_after_s=math.ceil(wait_s),
            )

    def _bucket_of(self, key: ApiKey, per_minute: int) -> "_Bucket":
        return self._buckets.setdefault(key.key_id, _Bucket(per_minute, self._clock()))


class _Bucket:
    """A token bucket that holds a minute's requests and is refilled evenly."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._size = float(per_minute)
        self._tokens = float(per_minute)
        self._at = now

    def take(self, now: float) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        per_second = self._size / 60
        self._tokens = min(self._size, self._tokens + (now - self._at) * per_second)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / per_second
        self._tokens -= 1
        return 0.0

    def owe(self, count: int) -> None:
        """Take tokens, also those that come later."""
        self._tokens -= count


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address to listen on."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
