"""Watches which statements a gallery's database counts rows with."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from gallery import Galleries, Gallery


@contextmanager
def noted_counts(counted: Gallery | Galleries) -> Iterator[list[str]]:
    """Collect the statements that count rows, of one gallery's database or of the list of all."""
    counting: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if "count(" in statement.lower():
            counting.append(statement)

    database = counted._store.database if isinstance(counted, Gallery) else counted._database
    engine = database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield counting
    finally:
        event.remove(engine, "before_cursor_execute", note)
