"""Detects a hanging PostgreSQL server, and gives it up.

libpq waits for an answer as long as the server's kernel accepts bytes, which it does even while the
server itself is stopped. The duration of a statement proves nothing: in a rebuild it may take
minutes. So after some seconds of silence a new connection is tried. A server that answers there is
alive and is waited for; one that is silent there too is given up.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import ConnectionTimeout

RV = TypeVar("RV")
_LOOK_S = 0.1


class WatchedConnection(psycopg.Connection[Any]):
    """A connection that is closed, with an OperationalError, when its server hangs."""

    silent_s: float = float("inf")
    knock: Callable[[], psycopg.Connection[Any]]

    def wait(self, gen: PQGen[RV], interval: float = _LOOK_S, timeout: float | None = None) -> RV:
        """Wait for the server's answer; psycopg does all its waiting in this method."""
        return super().wait(self._watched(gen), interval, timeout)

    def _watched(self, gen: PQGen[RV]) -> PQGen[RV]:
        """Pass through what `gen` waits for and what arrived, which is nothing every `interval`."""
        heard_at = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > self.silent_s:
                    self._require_life()
                    heard_at = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            found: RV = end.value
            return found

    def _require_life(self) -> None:
        try:
            self.knock().close()
        except ConnectionTimeout as error:
            self.close()
            raise psycopg.OperationalError(
                f"no word from the server for {self.silent_s:g} s, and none to a new connection"
            ) from error
        except psycopg.OperationalError:
            pass  # it refuses, so it is alive


def connector(silent_s: float) -> Callable[..., WatchedConnection]:
    """Return a replacement for the dialect's connect function, for SQLAlchemy's `do_connect`."""

    def connect(_dialect: Any, _record: Any, words: Any, named: Any) -> WatchedConnection:
        connection = WatchedConnection.connect(*words, **named)
        connection.silent_s = silent_s
        connection.knock = partial(psycopg.connect, *words, **named)
        return connection

    return connect
