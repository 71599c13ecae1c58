"""Read and write silhouettes and embeddings: packing, and encryption if there is a master key.

A subject is encrypted as a whole or not at all. It gets its key at enrolment if there is a master
key; a subject enrolled before that gets it with its next sample, or from `seal_subject`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, Select, insert, select, update

from gallery.adopted_key import check_master_key_of_now
from gallery.ciphers import Slot, Vault
from gallery.database import vault_of
from gallery.errors import SampleDamaged, StoreUnavailable
from gallery.packing import (
    PackedSilhouettes,
    pack_embedding,
    unpack_embeddings,
    unpack_silhouettes,
)
from gallery.schema import embeddings, samples, silhouettes, subjects
from gallery.wiping import owe

SEALED_BY = (samples.c.gallery, samples.c.sample_id, subjects.c.token, subjects.c.wrapped_key)
"""Columns to select along with `vector` and its `generation`, or with `data`, for decryption."""

STORED_SILHOUETTES: Select[Any] = (
    select(silhouettes, *SEALED_BY)
    .join(samples, samples.c.id == silhouettes.c.sample)
    .join(subjects, subjects.c.id == samples.c.subject)
)
"""Selects the rows that `silhouettes_from` reads."""

STORED_EMBEDDINGS: Select[Any] = (
    select(embeddings, *SEALED_BY)
    .join(samples, samples.c.id == embeddings.c.sample)
    .join(subjects, subjects.c.id == samples.c.subject)
)
"""Selects the rows that `embeddings_from` reads."""


def embeddings_from(
    connection: Connection, rows: Sequence[Row[Any]], length: int
) -> NDArray[np.float32]:
    """Return the embeddings float32 `[N, length]` of rows with `vector`, `generation`, `SEALED_BY`.

    Raises:
        SampleDamaged: one cannot be read, or was sealed for another place or under another key.
        StoreUnavailable: another process changed the master key.

    """
    read = readable_embeddings(connection, rows, length)
    for error in read.damaged.values():
        raise error
    return read.embeddings


class Readable(NamedTuple):
    """The readable embeddings among some rows, and the errors of the others."""

    places: list[int]
    """Positions of the readable ones among the rows."""
    embeddings: NDArray[np.float32]
    """`[N, L]`"""
    damaged: dict[int, SampleDamaged]
    """The positions of the others, with what is wrong."""


def readable_embeddings(connection: Connection, rows: Sequence[Row[Any]], length: int) -> Readable:
    """Read like `embeddings_from`, but skip and report the embeddings that cannot be read.

    Raises:
        StoreUnavailable: another process changed the master key.

    """
    vault = vault_of(connection)
    blobs: list[bytes] = []
    sealed: dict[int, StoreUnavailable] = {}
    for place, row in enumerate(rows):
        try:
            blobs.append(_opened(vault, row, row.vector, row.generation))
        except StoreUnavailable as error:
            blobs.append(b"")
            sealed[place] = error
    embeddings, wrong = unpack_embeddings(blobs, length)
    damaged = {
        place: _damaged(connection, "embedding", rows[place], error)
        for place, error in sorted({**wrong, **sealed}.items())
    }
    places = [place for place in range(len(rows)) if place not in damaged]
    return Readable(places, embeddings[places] if damaged else embeddings, damaged)


def silhouettes_from(connection: Connection, row: Row[Any]) -> NDArray[np.uint8]:
    """Return the silhouettes uint8 `[T, H, W]` of a row of `STORED_SILHOUETTES`.

    Raises:
        SampleDamaged: they cannot be read, or were sealed for another place or under another key.
        StoreUnavailable: another process changed the master key.

    """
    try:
        data = _opened(vault_of(connection), row, row.data, generation=0)
        shape = row.frames, row.height, row.width
        return unpack_silhouettes(PackedSilhouettes(shape, data, row.format))
    except StoreUnavailable as error:
        raise _damaged(connection, "silhouettes", row, error) from error


def _opened(vault: Vault, row: Row[Any], stored: object, generation: int) -> bytes:
    """Decrypt a stored value.

    Raises:
        StoreUnavailable: it was altered. SQLite keeps the type beside each value, not in the
            column: one flipped bit makes bytes a text, or a number.

    """
    wrapped = row.wrapped_key
    if not isinstance(stored, bytes) or not isinstance(wrapped, bytes | None):
        raise StoreUnavailable(f"expected stored bytes, got {type(stored).__name__}")
    return vault.open(stored, wrapped, _slot(row, generation))


def _damaged(
    connection: Connection, what: str, row: Row[Any], error: StoreUnavailable
) -> SampleDamaged:
    check_master_key_of_now(connection)  # with a rotated key everything looks damaged
    return SampleDamaged(f"the {what} of the sample {row.sample_id} cannot be read: {error}")


def insert_embeddings(
    connection: Connection, generation: int, rows: Sequence[int], vectors: NDArray[np.float32]
) -> None:
    """Insert embeddings float32 `[N, L]` of N sample rows that the generation does not have yet."""
    owners, vault = _owners(connection, rows), vault_of(connection)
    values = []
    for row, vector in zip(rows, vectors, strict=True):
        owner, data = owners[row], pack_embedding(vector)
        sealed = vault.seal(data, owner.wrapped_key, _slot(owner, generation))
        values.append({"generation": generation, "sample": row, "vector": sealed})
    if values:
        connection.execute(insert(embeddings), values)


def insert_silhouettes(connection: Connection, row: int, packed: PackedSilhouettes) -> None:
    """Insert the silhouettes of a sample row that has none yet."""
    owner = _owners(connection, [row])[row]
    frames, height, width = packed.shape
    data = vault_of(connection).seal(packed.data, owner.wrapped_key, _slot(owner, 0))
    shape = {"frames": frames, "height": height, "width": width}
    connection.execute(
        insert(silhouettes).values(sample=row, format=packed.format, data=data, **shape)
    )


def seal_subject(connection: Connection, subject: int) -> bool:
    """Give a subject row a key and encrypt its contents; False if it has a key or needs none.

    The caller's transaction holds the gallery's lock, so that nobody adds plain contents meanwhile.
    """
    found = connection.execute(select(subjects).where(subjects.c.id == subject)).one()
    vault = vault_of(connection)
    wrapped = vault.new_key(found.gallery, found.token)
    if found.wrapped_key is not None or wrapped is None:
        return False
    for row in connection.execute(STORED_SILHOUETTES.where(samples.c.subject == subject)).all():
        data = vault.seal(row.data, wrapped, _slot(row, 0))
        is_it = silhouettes.c.sample == row.sample
        connection.execute(update(silhouettes).where(is_it).values(data=data))
    for row in connection.execute(STORED_EMBEDDINGS.where(samples.c.subject == subject)).all():
        vector = vault.seal(row.vector, wrapped, _slot(row, row.generation))
        is_it = (embeddings.c.sample == row.sample) & (embeddings.c.generation == row.generation)
        connection.execute(update(embeddings).where(is_it).values(vector=vector))
    with_key = update(subjects).where(subjects.c.id == subject)
    connection.execute(with_key.values(wrapped_key=wrapped))
    owe(connection)
    return True


def _owners(connection: Connection, rows: Sequence[int]) -> dict[int, Row[Any]]:
    query: Select[Any] = select(samples.c.id, *SEALED_BY).join(
        subjects, subjects.c.id == samples.c.subject
    )
    found = connection.execute(query.where(samples.c.id.in_(rows))).all()
    return {int(row.id): row for row in found}


def _slot(row: Row[Any], generation: int) -> Slot:
    return Slot(row.gallery, row.token, row.sample_id, generation)
