"""Check the master key that a store is encrypted under; the store knows only its fingerprint.

The check runs when the store is opened, so a wrong key is reported then, not by the first subject
that cannot be decrypted.
"""

from sqlalchemy import Connection, insert, select

from gallery.database import vault_of
from gallery.errors import StoreUnavailable, WrongMasterKey
from gallery.generations import now
from gallery.schema import master_keys


def check_master_key(connection: Connection, *, adopt: bool = False) -> None:
    """Compare the connection's master key with the one that the store is encrypted under.

    With `adopt`, a store without a key adopts this one; the caller's transaction must be writing.

    Raises:
        WrongMasterKey: the store requires a different key, or requires one and none was given.

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
    """Refuse to continue with a master key that the store no longer uses.

    Another process may have rotated the key since this one opened the store. Data sealed under the
    old key could never be opened again, and data sealed under the new key looks damaged here.

    Raises:
        StoreUnavailable: the key was changed.

    """
    try:
        check_master_key(connection)
    except WrongMasterKey as error:
        raise StoreUnavailable(f"{error}; it was changed meanwhile: start again with it") from error


def is_adopted(connection: Connection) -> bool:
    """Tell whether the given master key is already recorded in the store; true without a key."""
    master = vault_of(connection).master
    return master is None or connection.scalar(select(master_keys.c.fingerprint)) is not None
