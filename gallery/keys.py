"""API keys: who may call the service, for what, and for which galleries.

A key reads `mg_<id>_<secret>`. The secret is 256 random bits and shown once; only its SHA-256 is
stored. A slow hash protects secrets that can be guessed, and this one cannot.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Row, insert, select, update

from gallery.connecting import FILE_NAME
from gallery.database import Database
from gallery.errors import InvalidKey, KeyNotFound, StoreUnavailable, TooManyKeys
from gallery.migrations import is_current, migrate
from gallery.preparing import require_tables
from gallery.schema import api_keys

LIVE_PER_NAME = 2
"""Live keys allowed per name: the old one and, during a change, its successor."""
NAME_MAX_CHARACTERS = 64

_KEY = re.compile(r"mg_([0-9a-f]{12})_([0-9a-f]{64})")
# Compared if no key has the id, so that an unknown id takes as long as a wrong secret.
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class ApiKey:
    """A stored key: everything about it except its secret."""

    key_id: str
    name: str
    """Whose key it is, in the operator's words; two live keys may share it."""
    digest: str
    """SHA-256 of the secret, hex."""
    scopes: frozenset[str]
    galleries: frozenset[str] | None
    """Names of the galleries it may access; None for all."""
    per_minute: int | None
    """Requests allowed per minute; None for no limit."""
    created_at: datetime | None
    """None where it is damaged."""
    expires_at: datetime | None
    revoked_at: datetime | None
    is_damaged: bool = False
    """Something that it says cannot be read any more, so that it opens nothing."""

    def is_live(self, now: datetime) -> bool:
        """Tell whether it is valid at the moment `now`."""
        ended = self.revoked_at is not None or self.is_damaged
        return not ended and (self.expires_at is None or now < self.expires_at)

    def may_touch(self, gallery: str) -> bool:
        """Tell whether it grants access to a gallery."""
        return self.galleries is None or gallery in self.galleries


def parse_key(text: str) -> tuple[str, str] | None:
    """Split `mg_<id>_<secret>` into id and secret; None if the text has another form."""
    found = _KEY.fullmatch(text)
    return None if found is None else (found[1], found[2])


def is_secret_of(secret: str, key: ApiKey | None) -> bool:
    """Compare a secret with a key's digest, in a time that depends on neither."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    # As bytes: a damaged digest may be any text, and only ASCII can be compared as text.
    return hmac.compare_digest(digest.encode(), (_NOBODY if key is None else key.digest).encode())


class KeyStore:
    """The keys of a database; all its galleries and replicas share them.

    Every method may raise StoreUnavailable, and every method that writes may raise StoreFull.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, location: str | Path, *, make: bool = True) -> Self:
        """Open the keys of a folder or a SQLAlchemy URL.

        Args:
            location: where the database is.
            make: whether to create a missing database, or missing tables.

        Raises:
            StoreUnavailable: the database cannot be opened, or is missing and `make` is false.
            StoreTooNew: a newer version of metagait wrote it.

        """
        if not make and not cls.is_there(location):
            raise StoreUnavailable(
                f"expected a store in the folder {location}, got no {FILE_NAME} there"
            )
        database = Database(location)
        with database.closed_on_error():
            _prepare(database, make=make)
        return cls(database)

    @staticmethod
    def is_there(location: str | Path) -> bool:
        """Tell whether a folder has a store; a database that is named by a URL counts as one."""
        return not isinstance(location, Path) or (location / FILE_NAME).is_file()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def create(
        self,
        name: str,
        scopes: Collection[str],
        *,
        galleries: Collection[str] | None = None,
        per_minute: int | None = None,
        expires_at: datetime | None = None,
        before_it_counts: Callable[[str], None] = lambda _text: None,
    ) -> tuple[ApiKey, str]:
        """Create a key; return it with its text `mg_<id>_<secret>`, which cannot be read again.

        Args:
            name: whose it is.
            scopes: what it may do.
            galleries: names of the galleries it may access; None for all.
            per_minute: requests allowed per minute; None for no limit.
            expires_at: when it stops being valid; None for never.
            before_it_counts: called with the text before the key is committed; if it raises, no key
                is created, so none can exist whose text nobody has.

        Raises:
            InvalidKey: an unusable name, scope, gallery, rate or date.
            TooManyKeys: the name has two live keys already.

        """
        secret, at = secrets.token_hex(32), datetime.now(UTC)
        key = ApiKey(
            key_id=secrets.token_hex(6),
            name=name,
            digest=hashlib.sha256(secret.encode()).hexdigest(),
            scopes=frozenset(scopes),
            galleries=None if galleries is None else frozenset(galleries),
            per_minute=per_minute,
            created_at=at,
            expires_at=expires_at,
            revoked_at=None,
        )
        _check(key, at)
        with self._database.writing() as connection:
            self._database.make_keys_alone(connection)
            _check_live(connection, key, at)
            connection.execute(insert(api_keys).values(_values(key, at)))
            text = f"mg_{key.key_id}_{secret}"
            before_it_counts(text)
        return key, text

    def all(self) -> tuple[ApiKey, ...]:
        """Return every key, oldest first, including expired and revoked ones."""
        with self._database.reading() as connection:
            return _all(connection)

    def revoke(self, key_id: str) -> None:
        """Revoke a key for good; revoking it again changes nothing.

        Raises:
            KeyNotFound: there is no such key.

        """
        with self._database.writing() as connection:
            found = connection.execute(select(api_keys).where(api_keys.c.key_id == key_id)).first()
            if found is None:
                raise KeyNotFound(f"expected the id of a key, got {key_id!r}, which does not exist")
            if found.revoked_at is None:
                at = {"revoked_at": datetime.now(UTC).isoformat()}
                connection.execute(update(api_keys).where(api_keys.c.key_id == key_id).values(at))


def _prepare(database: Database, *, make: bool) -> None:
    with database.reading() as connection:
        if not make:
            require_tables(connection)
        if is_current(connection):
            return
    with database.writing() as connection:
        database.migrate_alone(connection)
        migrate(connection)


def _check(key: ApiKey, at: datetime) -> None:
    if not 1 <= len(key.name) <= NAME_MAX_CHARACTERS or not key.name.isprintable():
        raise InvalidKey(
            f"expected a name of 1 to {NAME_MAX_CHARACTERS} printable characters, got {key.name!a}"
        )
    if not key.scopes:
        raise InvalidKey("expected at least one scope, got none")
    if key.galleries is not None and not key.galleries:
        raise InvalidKey("expected at least one gallery, or every one by naming none")
    if key.per_minute is not None and key.per_minute < 1:
        raise InvalidKey(f"expected 1 or more requests a minute, got {key.per_minute}")
    if key.expires_at is not None and key.expires_at <= at:
        raise InvalidKey(f"expected an end in the future, got {key.expires_at.isoformat()}")


def _check_live(connection: Connection, key: ApiKey, at: datetime) -> None:
    live = [one.key_id for one in _all(connection) if one.name == key.name and one.is_live(at)]
    if len(live) >= LIVE_PER_NAME:
        raise TooManyKeys(
            f"expected at most {LIVE_PER_NAME} live keys called {key.name!r}, got another beside "
            f"{' and '.join(live)}: revoke one first"
        )


def _all(connection: Connection) -> tuple[ApiKey, ...]:
    query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)
    return tuple(_key(row) for row in connection.execute(query))


def _values(key: ApiKey, at: datetime) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "digest": key.digest,
        "scopes": json.dumps(sorted(key.scopes)),
        "galleries": None if key.galleries is None else json.dumps(sorted(key.galleries)),
        "per_minute": key.per_minute,
        "created_at": at.isoformat(),
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        "revoked_at": None,
    }


def _key(row: Row[Any]) -> ApiKey:
    """Read a key; one that is damaged keeps nobody else out."""
    try:
        return ApiKey(
            key_id=row.key_id,
            name=row.name,
            digest=row.digest,
            scopes=_names(row.scopes),
            galleries=None if row.galleries is None else _names(row.galleries),
            per_minute=None if row.per_minute is None else int(row.per_minute),
            created_at=_moment(row.created_at),
            expires_at=None if row.expires_at is None else _moment(row.expires_at),
            revoked_at=None if row.revoked_at is None else _moment(row.revoked_at),
        )
    except (ValueError, TypeError, RecursionError):
        nothing: frozenset[str] = frozenset()
        return ApiKey(
            *(row.key_id, row.name, row.digest, nothing, nothing),
            per_minute=None,
            created_at=None,
            expires_at=None,
            revoked_at=None,
            is_damaged=True,
        )


def _names(text: str) -> frozenset[str]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected a list of names, got {text[:40]!r}")
    return frozenset(names)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError(f"expected a moment with its time zone, got {text[:40]!r}")
    return moment
