"""What was deleted is in no file of the database, wherever SQLite had moved it before."""

import os
import random
import sqlite3
import string
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, select, text

from gallery import Gallery, erasing
from gallery.database import Database
from gallery.schema import samples
from gallery.store import Store
from gallery.wiping import AT_ONCE_BYTES, Wiped
from metagait import main
from tests.disks import file_size_limit
from tests.galleries import embedding, open_gallery, walk


def in_file(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.iterdir() if path.is_file())


def enroll_at_random(gallery: Gallery, count: int, seed: int) -> list[str]:
    """Enrol people whose names and metadata are of every length, so that rows come to be moved."""
    drawn = random.Random(seed)

    def letters(least: int, most: int) -> str:
        return "".join(drawn.choices(string.ascii_lowercase, k=drawn.randint(least, most)))

    names = [letters(40, 128) for _ in range(count)]
    for number, name in enumerate(names):
        vector = np.full(8, number, np.float32)
        gallery.enroll(name, vector, silhouettes=None, metadata={"note": letters(10, 1500)})
    drawn.shuffle(names)
    return names


def test_rows_that_were_moved_before_they_were_erased_leave_no_copies(tmp_path: Path) -> None:
    with closing(open_gallery(tmp_path)) as gallery:
        # Of seed 4, SQLite 3.40 keeps two names by `secure_delete` alone.
        for name in enroll_at_random(gallery, 60, seed=4)[:40]:
            assert in_file(tmp_path, name), "the search itself works"
            proof = gallery.erase_subject(name).receipt.proof
            assert proof is not None
            assert proof.files == "overwritten"
            assert not in_file(tmp_path, name)


def test_who_is_erased_when_the_process_is_killed_is_wiped_by_the_next_start(
    tmp_path: Path,
) -> None:
    with closing(open_gallery(tmp_path)) as gallery:
        names = enroll_at_random(gallery, 60, seed=4)[:40]
    with closing(Store.open(tmp_path)) as store:
        for name in names:
            erasing.erase_subject(store, name)  # and nothing after it
        assert any(in_file(tmp_path, name) for name in names), "the search itself works"
    open_gallery(tmp_path).close()
    assert not any(in_file(tmp_path, name) for name in names)


def make_large(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "metagait.db")) as database:
        database.execute(f"CREATE TABLE large AS SELECT zeroblob({AT_ONCE_BYTES})")
        database.commit()


def version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "metagait.db")) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def test_a_large_file_is_written_anew_by_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_gallery(tmp_path)) as gallery:
        gallery.enroll("anna", embedding(1), silhouettes=walk(1))
        make_large(tmp_path)
        proof = gallery.erase_subject("anna").receipt.proof
        assert proof is not None
        assert proof.files == "pending"
        assert "run `metagait scrub`" in caplog.records[-1].getMessage()
        told = len(caplog.records)
        gallery.enroll("ben", embedding(2), silhouettes=walk(2))
        assert len(caplog.records) == told, "no write tries it again"
        drop = ["rebuild", "--drop-old", "--data", str(tmp_path)]
        assert main(drop) == 2
        assert "until `metagait scrub` has run" in capsys.readouterr().err
        assert main(["scrub", "--data", str(tmp_path)]) == 0
        assert version(tmp_path) == 1
        assert gallery.status().in_sync
        proof = gallery.erase_subject("ben").receipt.proof
        assert proof is not None
        assert proof.files == "pending"


def test_a_large_file_without_room_for_another_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(open_gallery(tmp_path)) as gallery:
        gallery.enroll("anna", embedding(1), silhouettes=walk(1))
        make_large(tmp_path)
        gallery.erase_subject("anna")
    with file_size_limit(AT_ONCE_BYTES // 2):
        assert main(["scrub", "--data", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"expected room for two more copies of {tmp_path}/metagait.db" in told
    assert version(tmp_path) > 1, "it is owed still"
    assert main(["scrub", "--data", str(tmp_path)]) == 0
    assert version(tmp_path) == 1


def test_temporary_files_of_a_large_one_are_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "anna's data"
    with closing(open_gallery(folder)) as gallery:
        gallery.enroll("anna", embedding(1), silhouettes=walk(1))
        make_large(folder)
        gallery.erase_subject("anna")
    opened: set[str] = set()

    def look() -> None:
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                opened.add(os.readlink(link))

    with closing(Database(folder)) as database:

        @event.listens_for(database.engine, "checkout")
        def _listen(connection: Any, _record: object, _proxy: object) -> None:
            connection.set_progress_handler(look, 1)

        assert database.scrub(at_any_size=True) is Wiped.ALL
    assert any(name.startswith(f"{folder}/etilqs") for name in opened)


def test_a_large_store_that_was_just_restored_owes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_gallery(tmp_path / "first")) as gallery:
        gallery.enroll("anna", embedding(1), silhouettes=walk(1))
        gallery.erase_subject("anna")
        gallery.enroll("ben", embedding(2), silhouettes=walk(2))
    assert main(["backup", str(tmp_path / "backup"), "--data", str(tmp_path / "first")]) == 0
    assert main(["restore", str(tmp_path / "backup"), "--data", str(tmp_path / "second")]) == 0
    make_large(tmp_path / "second")
    open_gallery(tmp_path / "second").close()
    assert "metagait scrub" not in caplog.text
    assert version(tmp_path / "second") == 1


def test_what_is_deleted_while_the_file_is_written_anew_is_owed_still(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store, closing(open_gallery(tmp_path)) as gallery:
        for seed, name in enumerate(("anna", "ben")):
            gallery.enroll(name, embedding(seed), silhouettes=walk(seed))
        erasing.erase_subject(gallery._store, "anna")
        late = ["ben"]

        def meanwhile(statement: str) -> None:
            if statement == "BEGIN IMMEDIATE" and late:
                erasing.erase_subject(gallery._store, late.pop())

        @event.listens_for(store.database.engine, "checkout")
        def _listen(connection: Any, _record: object, _proxy: object) -> None:
            connection.set_trace_callback(meanwhile)

        assert store.database.scrub() is Wiped.HELD
        assert late == []
        assert version(tmp_path) == 0
        assert store.database.scrub() is Wiped.ALL
        assert version(tmp_path) == 1


@contextmanager
def reading(location: str | Path) -> Iterator[None]:
    with closing(Database(location)) as database, database.reading() as connection:
        connection.execute(select(samples.c.id)).all()
        yield


def test_a_receipt_waits_for_whoever_can_still_see_what_was_erased(location: str | Path) -> None:
    with closing(open_gallery(location)) as gallery:
        for seed, name in enumerate(("anna", "ben")):
            gallery.enroll(name, embedding(seed), silhouettes=walk(seed))
        with reading(location):
            held = gallery.erase_subject("anna").receipt.proof
        free = gallery.erase_subject("ben").receipt.proof
    assert held is not None
    assert free is not None
    assert held.files == "pending"
    assert free.files == ("vacuumed" if isinstance(location, str) else "overwritten")


def test_a_gallery_opens_on_a_server_that_does_not_let_it_vacuum_now(postgres_url: str) -> None:
    with closing(open_gallery(postgres_url)) as gallery:
        gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    impatient = f"{postgres_url}&options=-c%20lock_timeout%3D200"
    with closing(Database(postgres_url)) as other, other.writing() as connection:
        connection.execute(text("LOCK TABLE subjects IN SHARE UPDATE EXCLUSIVE MODE"))
        with closing(open_gallery(impatient)) as gallery:
            assert [one.subject for one in gallery.identify(embedding(1))] == ["anna"]
            proof = gallery.erase_subject("anna").receipt.proof
    assert proof is not None
    assert proof.files == "pending"
