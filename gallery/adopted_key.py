"""The master key that a store is encrypted under, which it knows by a fingerprint only.

So a wrong key is told at the start and not by the first subject.
"""

from sqlalchemy import Connection, insert, select

from gallery.database import vault_of
from gallery.errors import StoreUnavailable, WrongMasterKey
from gallery.generations import now
from gallery.schema import master_keys


def check_master_key(connection: Connection, *, adopt: bool = False) -> None:
    """Compare the connection's master key with the one that the store was encrypted under.

    With `adopt`, a store that knows none takes it over; the caller's transaction writes then.

    Raises:
        WrongMasterKey: the store demands another one, or one at all.

    """
    master = vault_of(connection).master
    given = None if master is None else master.fingerprint
    known = connection.scalar(select(master_keys.c.fingerprint))
    if known is None and given is not None and adopt:
        connection.execute(insert(master_keys).values(fingerprint=given, created_at=now()))
    elif known is not None and given is None:
        raise WrongMasterKey(
            f"expected the master key {known} that this store is encrypted under, got none: name "
            "its file in METAGAIT_MASTER_KEY_FILE"
        )
    elif known is not None and given != known:
        raise WrongMasterKey(
            f"expected the master key {known} that this store is encrypted under, got {given}"
        )


def check_master_key_of_now(connection: Connection) -> None:
    """Refuse to go on with a master key that the store has no more.

    Another process may have changed it since this one opened the store. What is sealed under the
    one before nothing opens again, and what is sealed under the new one looks damaged here.

    Raises:
        StoreUnavailable: it was changed.

    """
    try:
        check_master_key(connection)
    except WrongMasterKey as error:
        raise StoreUnavailable(f"{error}; it was changed meanwhile: start again with it") from error


def is_adopted(connection: Connection) -> bool:
    """Tell whether a given master key is noted in the store already."""
    master = vault_of(connection).master
    return master is None or connection.scalar(select(master_keys.c.fingerprint)) is not None
