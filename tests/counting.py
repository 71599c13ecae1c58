"""Watches which statements a gallery's database counts rows with."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from gallery import Gallery


@contextmanager
def noted_counts(gallery: Gallery) -> Iterator[list[str]]:
    """Collect the statements of a gallery's database that count rows."""
    counting: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if "count(" in statement.lower():
            counting.append(statement)

    engine = gallery._store.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield counting
    finally:
        event.remove(engine, "before_cursor_execute", note)
