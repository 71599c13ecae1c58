"""A store in which something is damaged is backed up and restored all the same, and says so."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import update

from gallery import AuditBroken
from gallery.backup import back_up, restore
from gallery.database import Database
from gallery.schema import audit
from gallery.store import Store
from metagait import main
from tests.galleries import embedding, open_gallery, walk


def backed_up(folder: Path) -> Path:
    path = folder.with_suffix(".backup")
    with closing(Store.open(folder)) as store:
        back_up(store.database, path)
    return path


def filled(folder: Path) -> None:
    with closing(open_gallery(folder)) as gallery:
        for seed, name in enumerate(("anna", "ben")):
            gallery.enroll(name, embedding(seed), silhouettes=walk(seed))


def finds(location: str | Path, seed: int) -> str:
    with closing(open_gallery(location)) as gallery:
        return gallery.identify(embedding(seed))[0].subject


def test_a_log_that_was_altered_before_the_backup_keeps_nobody_from_their_data(
    tmp_path: Path, location: str | Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path / "first")
    with (
        closing(Store.open(tmp_path / "first")) as store,
        store.database.writing() as connection,
    ):
        connection.execute(update(audit).where(audit.c.number == 2).values(actor="nobody"))
    path = backed_up(tmp_path / "first")
    where = location if isinstance(location, str) else tmp_path / "second"
    told = "the store is restored, but in its log: expected row 2 of the log of main"
    with closing(Database(where)) as database, pytest.raises(AuditBroken, match=told):
        restore(path, database)
    assert finds(where, 1) == "ben"
    assert main(["restore", str(path), "--data", str(tmp_path / "third")]) == 2
    assert "the store is restored, but" in capsys.readouterr().err
    assert finds(tmp_path / "third", 0) == "anna"


@pytest.mark.parametrize(
    ("column", "value"),
    [("embeddings.vector", "CAST({} AS TEXT)"), ("embeddings.vector", "12.5"),
     ("silhouettes.data", "CAST({} AS TEXT)"), ("samples.metadata", "CAST({} AS BLOB)"),
     ("samples.metadata", "7"), ("subjects.created_at", "CAST(x'ff00' AS BLOB)")],
)  # fmt: skip
def test_a_value_of_another_type_is_restored_as_one_that_is_damaged(
    tmp_path: Path, location: str | Path, column: str, value: str
) -> None:
    filled(tmp_path / "first")
    table, name = column.split(".")
    with closing(sqlite3.connect(tmp_path / "first" / "metagait.db")) as database:
        database.execute(f"UPDATE {table} SET {name} = {value.format(name)} WHERE rowid = 1")
        database.commit()
    path = backed_up(tmp_path / "first")
    where = location if isinstance(location, str) else tmp_path / "second"
    with closing(Database(where)) as opened:
        restore(path, opened)
    assert finds(where, 1) == "ben"
    with closing(open_gallery(where)) as gallery:
        assert [one.subject for one in gallery.subjects()] == ["anna", "ben"]
        assert gallery.erase_subject("anna").samples == 1
