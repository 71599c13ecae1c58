"""SQLite keeps the type beside each value: where one bit of it flips, bytes are a text or a number.

Whatever a value of one sample has become, it hides nobody else, and the person can be erased.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gallery import Consent, MasterKey, SampleDamaged
from tests.galleries import embedding, open_gallery, walk

KEY = MasterKey(bytes(range(32)))
AT = datetime(2030, 1, 1, tzinfo=UTC)
COLUMNS = [
    "embeddings.vector",
    "silhouettes.data",
    "silhouettes.frames",
    "samples.metadata",
    "samples.created_at",
    "samples.captured_at",
    "subjects.created_at",
    "consents.expires",
]


def filled(folder: Path, key: MasterKey | None) -> str:
    """A gallery of anna, whose sample's id is returned, and ben."""
    with closing(open_gallery(folder, master_key=key)) as gallery:
        consent = Consent("consent", expires=AT)
        first = gallery.enroll(
            "anna", embedding(0), silhouettes=walk(0), consent=consent, captured_at=AT
        )
        gallery.enroll("ben", embedding(1), silhouettes=walk(1))
    return first.sample.sample_id


def write(folder: Path, column: str, value: str) -> None:
    """Write an SQL value into a column of the first row of its table."""
    table, name = column.split(".")
    with closing(sqlite3.connect(folder / "metagait.db")) as database:
        database.execute(f"UPDATE {table} SET {name} = {value.format(name)} WHERE rowid = 1")
        database.commit()


def said(ask: Callable[[], object]) -> str:
    """What a damaged sample says of itself; nothing if it can be read all the same."""
    try:
        ask()
    except SampleDamaged as error:
        return str(error)
    return ""


@pytest.mark.parametrize("value", ["CAST({} AS TEXT)", "CAST({} AS BLOB)", "12.5", "x'ff'"])
@pytest.mark.parametrize(
    ("column", "key"),
    [*((column, None) for column in COLUMNS), ("embeddings.vector", KEY), ("silhouettes.data", KEY),
     ("subjects.wrapped_key", KEY)],
)  # fmt: skip
def test_a_value_of_another_type_hides_nobody_else(
    tmp_path: Path, value: str, column: str, key: MasterKey | None
) -> None:
    sample_id = filled(tmp_path, key)
    write(tmp_path, column, value)
    with closing(open_gallery(tmp_path, master_key=key)) as gallery:
        assert "ben" in {one.subject for one in gallery.identify(embedding(1))}
        assert [one.subject for one in gallery.subjects()] == ["anna", "ben"]
        assert gallery.subject("anna").samples[0].sample_id == sample_id
        for ask in (
            lambda: gallery.silhouettes(sample_id),
            lambda: gallery.verify("anna", embedding(0)),
        ):
            assert sample_id in (said(ask) or sample_id)
        gallery.enroll("cem", embedding(2), silhouettes=walk(2))
        assert gallery.erase_subject("anna").receipt.proof is not None
        assert gallery.status().in_sync
