"""Finds subjects by a part of their id, whatever its case and accents.

No database folds case and accents in Unicode as every other does, and none has an index for a part
of a text. So ids are compared here, in the order of the list and a bounded number at a time. They
are read from the index that keeps them unique, without their rows.
"""

import unicodedata
from typing import Any

from sqlalchemy import Connection, Select, select

from gallery.listing import as_stored, only_expired, summaries_of
from gallery.records import FoundSubjects
from gallery.schema import subjects
from gallery.store import Store

LOOKED_AT = 20_000
"""Most ids that are compared for one page, which takes up to 60 ms where all have accents."""
_READ_TOGETHER = 256


def folded(text: str) -> str:
    """Return text as it is compared: without case, accents and compatibility forms.

    It folds each character by itself, so a part of a text is folded to a part of the folded text.
    """
    if text.isascii():
        return text.lower()
    bare = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(one for one in bare if not unicodedata.combining(one))


def find_subjects(
    store: Store,
    text: str,
    limit: int,
    after: str | None,
    *,
    expired: bool = False,
    most: int = LOOKED_AT,
) -> FoundSubjects:
    """Return up to `limit` subjects whose id contains `text`, ordered by id, behind `after`.

    Args:
        store: the gallery.
        text: a part of the id, whatever its case and accents.
        limit: most subjects of the page.
        after: the `next` of the page before.
        expired: only subjects with an expired consent, their own or one for a sample of theirs.
        most: ids to compare.

    """
    of_gallery = subjects.c.gallery == store.gallery_id
    query: Select[Any] = select(subjects.c.id, subjects.c.subject).where(of_gallery)
    query = only_expired(query) if expired else query
    with store.database.reading() as connection:
        if after is not None:
            query = query.where(subjects.c.subject > as_stored(connection, store, after))
        ordered = query.order_by(subjects.c.subject).limit(most)
        rows, following = _found(connection, ordered, folded(text), limit, most)
        return FoundSubjects(summaries_of(connection, rows), following)


def _found(
    connection: Connection, query: Select[Any], wanted: str, limit: int, most: int
) -> tuple[list[int], str | None]:
    """Return the rows of the subjects found, and the id behind which to look on, if at all."""
    rows: list[int] = []
    looked_at, last, last_found = 0, None, None
    options = {"yield_per": _READ_TOGETHER}
    # Closed, because a server goes on sending otherwise.
    with connection.execute(query, execution_options=options) as ids:
        for row, subject in ids:
            looked_at, last = looked_at + 1, subject
            if wanted not in folded(subject):
                continue
            if len(rows) == limit:
                return rows, last_found
            rows.append(row)
            last_found = subject
    return rows, last if looked_at == most else None
