"""The master key: reading and writing its file, rotating it, and encrypting plain subjects.

The file holds 32 random bytes as one line of base64, and only its owner may read it.
"""

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from gallery.adopted_key import check_master_key_of_now
from gallery.ciphers import MasterKey, Slot
from gallery.contents import seal_subject
from gallery.database import Database, vault_of
from gallery.durable import sync_folder
from gallery.errors import StoreUnavailable, WrongMasterKey
from gallery.generations import lock, now, record
from gallery.schema import galleries, master_keys, subjects
from gallery.wiping import owe

_SEALED = "sealed"


def read_master_key(path: Path) -> MasterKey:
    """Read the key from its file.

    Raises:
        WrongMasterKey: there is no such file, others may read it, or it holds no key.

    """
    try:
        with path.open("rb") as file:
            _check_file(path, os.fstat(file.fileno()))
            text = file.read(1024)
        secret = base64.b64decode(text.strip(), validate=True)
    except OSError as error:
        raise WrongMasterKey(f"expected a master key in {path}, got: {error.strerror}") from error
    except binascii.Error as error:
        raise WrongMasterKey(
            f"expected 32 bytes as base64 in {path}, got text that is none: make a key with "
            "`metagait masterkey new`"
        ) from error
    return MasterKey(secret)


def write_master_key(path: Path) -> MasterKey:
    """Create a key and write it to a new file that only its owner can read.

    Raises:
        WrongMasterKey: the file already exists, or cannot be created.

    """
    key, secret = MasterKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise WrongMasterKey(
            f"expected to make the new file {path}, got: {error.strerror}"
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secret) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # Data will be encrypted with it, so losing the file in a power cut would lose that data.
        sync_folder(path.parent)
    except OSError as error:
        path.unlink()
        raise WrongMasterKey(f"expected to write the file {path}, got: {error.strerror}") from error
    return key


def rotate(database: Database, new: MasterKey) -> int:
    """Rewrap every subject's key with a new master key, all or none; return how many.

    The encrypted data itself is not touched. Afterwards the caller has to scrub the database of the
    keys as they were wrapped before.

    Raises:
        WrongMasterKey: the database was opened without its master key, or `new` is the same key.
        StoreUnavailable: the key of a subject, which the message names, is damaged, or another
            process has changed the master key after this one opened the database.

    """
    with database.writing() as connection:
        old = vault_of(connection).master
        if old is None:
            raise WrongMasterKey("expected the present master key to rotate from, got none")
        if old.fingerprint == new.fingerprint:
            # Otherwise somebody might destroy it as the "old" key, and lose everything.
            raise WrongMasterKey(
                "expected another master key to rotate to, got the present one: make a new one "
                "with `metagait masterkey new`"
            )
        database.migrate_alone(connection)  # nobody creates a gallery and enrols meanwhile
        check_master_key_of_now(connection)
        for gallery in list(connection.scalars(select(galleries.c.id))):
            lock(connection, gallery)
        sealed = select(subjects).where(subjects.c.wrapped_key.is_not(None))
        rows = connection.execute(sealed).all()
        for row in rows:
            wrapped = _rewrapped(row, new, old)
            is_it = subjects.c.id == row.id
            connection.execute(update(subjects).where(is_it).values(wrapped_key=wrapped))
        owe(connection)
        connection.execute(delete(master_keys))
        known = {"fingerprint": new.fingerprint, "created_at": now()}
        connection.execute(insert(master_keys).values(known))
    return len(rows)


def _rewrapped(subject: Row[Any], new: MasterKey, old: MasterKey) -> bytes:
    try:
        return new.rewrap(subject.wrapped_key, Slot(subject.gallery, subject.token), old)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"expected the key of the subject {subject.subject!r} as it was written, without which "
            f"nothing of that subject can be read: erase it, or restore a backup ({error})"
        ) from error


def encrypt_plain(database: Database) -> int:
    """Encrypt all unencrypted subjects, each in its own transaction; return how many.

    Afterwards the caller has to scrub the database of the unencrypted data.

    Raises:
        WrongMasterKey: the database was opened without a master key.
        StoreUnavailable: another process has changed the key since.

    """
    if database.vault.master is None:
        raise WrongMasterKey("expected a master key to encrypt with, got none")
    with database.reading() as connection:
        plain = select(subjects.c.id, subjects.c.gallery).where(subjects.c.wrapped_key.is_(None))
        rows = connection.execute(plain).all()
    count = 0
    for row in rows:
        with database.writing() as connection:
            lock(connection, row.gallery)
            check_master_key_of_now(connection)
            is_there = select(subjects.c.id).where(subjects.c.id == row.id)
            if connection.scalar(is_there) is not None and seal_subject(connection, row.id):
                record(connection, row.gallery, _SEALED, [])  # expires cached counts
                count += 1
    return count


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise WrongMasterKey(f"expected {path} to be a file, got something else")
    others = stat.S_IMODE(found.st_mode) & 0o077
    if others:
        raise WrongMasterKey(
            f"expected {path} to be for its owner alone, got mode "
            f"{stat.S_IMODE(found.st_mode):04o}: run `chmod 600` on it"
        )
