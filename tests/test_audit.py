"""The audit log: what it records, that it finds every tampering, and that searches do not wait."""

from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text, update

from gallery import AuditBroken, Gallery
from gallery import audit as log
from gallery.schema import audit, galleries
from gallery.store import Store
from metagait import main
from tests.waiting import wait_until

LENGTH = 8


def open_gallery(location):
    return Gallery.open(location, model_id="model-a", embedding_length=LENGTH)


def embedding(seed):
    return np.random.default_rng(seed).normal(size=LENGTH).astype(np.float32)


def rows_of(location):
    store = Store.open(location)
    with store.database.reading() as connection:
        rows = list(log.export(connection, "main"))
        verified = log.verify(connection, "main")
    store.close()
    assert verified.rows == len(rows)
    return rows


def test_it_records_who_did_what_and_names_no_erased_subject(location):
    gallery = open_gallery(location)
    walk = np.full((4, 8, 6), 255, np.uint8)
    gallery.enroll("anna", embedding(1), silhouettes=walk, actor="key-7")
    gallery.enroll("anna", embedding(1), silhouettes=walk, actor="key-7")
    assert gallery.enrolled_before("anna", walk, actor="key-6").duplicate
    gallery.note_search("identify", "match", actor="key-8", subject="anna", candidates=1)
    gallery.note_search("verify", "no_match", subject="nobody")
    gallery.close()
    gallery = open_gallery(location)
    gallery.erase_subject("anna", actor="key-9")
    gallery.note_search("identify", "match", subject="anna")
    gallery.close()
    rows = rows_of(location)
    assert [(row["action"], row["outcome"], row["actor"]) for row in rows] == [
        ("enrol", "enrolled", "key-7"),
        ("enrol", "duplicate", "key-7"),
        ("enrol", "duplicate", "key-6"),
        ("identify", "match", "key-8"),
        ("verify", "no_match", "local"),
        ("erase", "erased", "key-9"),
        ("identify", "match", "local"),
    ]
    token = rows[0]["subject"]
    assert [row["subject"] for row in rows] == [token] * 4 + [None, token, None]
    assert rows[3]["counts"] == {"candidates": 1}
    assert {row["generation"] for row in rows} == {1}
    assert "anna" not in str(rows)


def filled(location, count=6):
    store = Store.open(location)
    with store.database.writing() as connection:
        entries = [log.Entry("enrol", "enrolled", counts={"samples": n}) for n in range(count)]
        log.append(connection, store.gallery_id, entries)
    return store


COLUMNS = ["at", "actor", "action", "generation", "outcome", "subject", "counts", "previous"]


@pytest.mark.parametrize("column", COLUMNS)
def test_an_altered_row_is_found(location, column):
    store = filled(location)
    value = 99 if column == "generation" else "altered"
    with store.database.writing() as connection:
        connection.execute(update(audit).where(audit.c.number == 3).values({column: value}))
    with store.database.reading() as connection, pytest.raises(AuditBroken, match="row 3"):
        log.verify(connection, "main")
    store.close()


@pytest.mark.parametrize("number", [1, 3, 6])
def test_a_removed_row_is_found_wherever_it_stood(location, number):
    store = filled(location)
    with store.database.writing() as connection:
        connection.execute(delete(audit).where(audit.c.number == number))
    with store.database.reading() as connection, pytest.raises(AuditBroken, match="expected"):
        log.verify(connection, "main")
    store.close()


def test_rows_that_changed_places_are_found(location):
    store = filled(location)
    with store.database.writing() as connection:
        for old, new in ((2, 99), (4, 2), (99, 4)):
            connection.execute(update(audit).where(audit.c.number == old).values(number=new))
    with store.database.reading() as connection, pytest.raises(AuditBroken, match="row 2"):
        log.verify(connection, "main")
    store.close()


def test_a_row_that_was_added_at_the_end_is_found(location):
    store = filled(location)
    with store.database.writing() as connection:
        last = connection.execute(select(audit).where(audit.c.number == 6)).one()._asdict()
        forged = {**last, "number": 7, "previous": last["hash"]}
        forged["hash"] = log._hash(forged)
        connection.execute(insert(audit).values(forged))
    with store.database.reading() as connection, pytest.raises(AuditBroken, match="6 rows"):
        log.verify(connection, "main")
    store.close()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], min_codepoint=1), max_size=20)),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_whatever_is_logged_in_whatever_pieces_verifies(tmp_path_factory, texts, sizes):
    store = Store.open(tmp_path_factory.mktemp("log"))
    entries = [log.Entry("act", "done", one) for one in texts]
    while entries:
        size = sizes[len(entries) % len(sizes)]
        with store.database.writing() as connection:
            log.append(connection, store.gallery_id, entries[:size])
        entries = entries[size:]
    with store.database.reading() as connection:
        assert log.verify(connection, "main").rows == len(texts)
        assert [row["actor"] for row in log.export(connection, "main")] == texts
    store.close()


def test_searches_wait_while_the_store_cannot_be_written(tmp_path):
    gallery = open_gallery(tmp_path)
    database = gallery._store.database
    with database.writing() as connection:
        # Whatever is appended now is refused, as on a full disk.
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN "
                "SELECT RAISE(FAIL, 'refused'); END"
            )
        )
    for number in range(5):
        gallery.note_search("identify", "no_match", candidates=number)
    with pytest.raises(Exception, match="refused"):
        gallery._searches.flush()
    with database.writing() as connection:
        connection.execute(text("DROP TRIGGER refuse"))
    gallery.close()
    assert [row["counts"]["candidates"] for row in rows_of(tmp_path)] == list(range(5))


def test_whatever_keeps_a_search_from_being_noted_it_is_noted_later(tmp_path, caplog):
    gallery = open_gallery(tmp_path)
    database = gallery._store.database
    in_the_way = log._values(1, 1, log.Entry("enrol", "enrolled"), "")
    with database.writing() as connection:  # a log whose end the gallery does not know
        connection.execute(insert(audit).values(in_the_way))
    gallery.note_search("identify", "no_match")
    wait_until(lambda: "cannot be written now" in caplog.text)
    with database.writing() as connection:
        connection.execute(delete(audit))
    gallery.note_search("identify", "match")
    wait_until(lambda: len(rows_of(tmp_path)) == 2)
    gallery.close()


def test_a_log_goes_on_beyond_what_32_bits_can_number(location):
    gallery = open_gallery(location)
    with gallery._store.database.writing() as connection:
        connection.execute(update(galleries).values(audit_number=2**31 - 1))
    for name in ("anna", "ben"):
        gallery.enroll(name, embedding(1), silhouettes=None)
    job = gallery.jobs()
    assert job.add("model-b").state == "running"
    job.close()
    gallery.close()
    with closing(Store.open(location)) as store, store.database.reading() as connection:
        numbers = [row["number"] for row in log.export(connection, "main")]
    assert numbers == [2**31, 2**31 + 1]


def test_galleries_have_logs_of_their_own(location):
    store = filled(location, 2)
    other = Store.open(location, "other")
    with other.database.writing() as connection:
        log.append(connection, other.gallery_id, [log.Entry("enrol", "enrolled")])
    with store.database.reading() as connection:
        assert log.verify(connection, "main").rows == 2
        assert log.verify(connection, "other").rows == 1
        assert connection.scalar(select(galleries.c.audit_number).where(galleries.c.id == 1)) == 2
    other.close()
    store.close()


def test_the_command_compares_what_was_kept_of_every_gallery(tmp_path, capsys):
    filled(tmp_path, 2).close()
    for name, rows in (("empty", 0), ("lab", 1)):
        with closing(Store.open(tmp_path, name)) as store, store.database.writing() as connection:
            log.append(connection, store.gallery_id, [log.Entry("enrol", "enrolled")] * rows)
    verify = ["audit", "verify", "--data", str(tmp_path)]
    assert main(verify) == 0
    heads = capsys.readouterr().out.split()
    assert [head.split(":")[:2] for head in heads] == [["empty", "0"], ["lab", "1"], ["main", "2"]]
    kept = [word for head in heads for word in ("--head", head)]
    assert main([*verify, *kept]) == 0
    assert main([*verify, "--head", heads[2].removeprefix("main:")]) == 0
    for wrong in (heads[1].replace("lab", "main"), heads[2].replace(":2:", ":3:"), "lab:1:"):
        assert main([*verify, *kept, "--head", wrong]) == 2
        assert "with the hash that was kept" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*verify, "--head", "9f3a"])
    assert "expected GALLERY:ROWS:HASH" in capsys.readouterr().err


def test_a_damaged_row_ends_an_export_with_its_number(tmp_path, capsys):
    store = filled(tmp_path)
    with store.database.writing() as connection:
        connection.execute(update(audit).where(audit.c.number == 3).values(counts="{cut"))
    store.close()
    assert main(["audit", "export", "--data", str(tmp_path)]) == 2
    exported, told = capsys.readouterr()
    assert len(exported.splitlines()) == 2
    assert "expected row 3 of the log of main as it was written" in told


def test_an_exported_log_is_verified_without_the_store(tmp_path, capsys):
    filled(tmp_path, 3).close()
    assert main(["audit", "export", "--data", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    file = tmp_path / "audit.jsonl"

    def verified(content, *head):
        file.write_text(content)
        status = main(["audit", "verify", "--file", str(file), *head])
        return status, "".join(capsys.readouterr())

    assert main(["audit", "verify", "--data", str(tmp_path)]) == 0
    head = capsys.readouterr().out.strip()
    assert verified(text, "--head", head)[0] == 0
    assert head in verified(text)[1]
    lines = text.splitlines(keepends=True)
    # Rows that were cut off at the end leave a whole chain: only a head that was kept shows it.
    assert verified("".join(lines[:2]))[0] == 0
    for content, told in (
        ("".join(lines[:2]), "no such row"),
        (text.replace("enrolled", "searched", 1), "row 1 of the log of main as it was written"),
        ("".join(lines[1:]), "expected row 1 of the log of main, got row 2"),
        (lines[0] + lines[0].replace('"number": 1', '"number": 2'), "to follow the row before it"),
        (lines[0] + lines[1].replace('"main"', '"lab"'), "got a row of lab"),
        (lines[0] + "{}\n", "expected row 2 to have"),
        (lines[0] + "[]\n", "expected row 2 to have"),
        (text + "{", "after 3 rows"),
        (text + "[" * 100_000, "after 3 rows"),
        ("", "got no rows"),
    ):
        status, said = verified(content, "--head", head)
        assert (status, told in said) == (2, True), said
    assert "which" in verified(text, "--head", "lab:1:00")[1]
    assert main(["audit", "export", "--file", str(file), "--data", str(tmp_path)]) == 2
    assert main(["audit", "verify", "--file", str(tmp_path / "none")]) == 2
