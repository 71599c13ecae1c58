"""A PostgreSQL server that hangs: asked whether it lives, and given up when it does not.

libpq waits for an answer for as long as the server's kernel takes bytes, which it does also while
the server itself is stopped. How long a statement takes tells nothing: a rebuild's may take
minutes. So after some seconds without a word a new connection is tried. A server that answers
there lives, and is waited for; one that says nothing there either is given up.
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
    """A connection that raises OperationalError, and is closed, when its server hangs."""

    silent_s: float = float("inf")
    knock: Callable[[], psycopg.Connection[Any]]

    def wait(self, gen: PQGen[RV], interval: float = _LOOK_S, timeout: float | None = None) -> RV:
        """Wait for what psycopg asked the server; it does all its waiting here."""
        return super().wait(self._watched(gen), interval, timeout)

    def _watched(self, gen: PQGen[RV]) -> PQGen[RV]:
        """Pass on what `gen` waits for and what came, which is nothing every `interval`."""
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
            pass  # it refuses, so it lives


def connector(silent_s: float) -> Callable[..., WatchedConnection]:
    """Make what connects in the place of SQLAlchemy's dialect, as its event `do_connect`."""

    def connect(_dialect: Any, _record: Any, words: Any, named: Any) -> WatchedConnection:
        connection = WatchedConnection.connect(*words, **named)
        connection.silent_s = silent_s
        connection.knock = partial(psycopg.connect, *words, **named)
        return connection

    return connect
