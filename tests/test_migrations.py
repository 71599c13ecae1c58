"""A store from every earlier step opens and answers; a newer one is refused."""

from contextlib import closing

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, Table, insert, inspect, text

from gallery import Gallery, JobLog, StoreTooNew
from gallery.database import Database
from gallery.migrations import is_current, migrate, number_of, numbers
from gallery.packing import pack_embedding, pack_silhouettes, sample_id
from gallery.schema import TABLES
from gallery.store import Store

LENGTH = 4
WALK = np.arange(3 * 8 * 6, dtype=np.uint8).reshape(3, 8, 6)
EMBEDDING = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
THEN = "2025-01-02T03:04:05.678+00:00"


def fill_as_the_first_release_did(connection):
    """One subject with one sample, written without any code that may change after it."""
    packed = pack_silhouettes(WALK)
    frames, height, width = packed.shape
    rows = {
        "galleries": {"name": "main", "changes": 2},
        "generations": {
            "gallery": 1,
            "model_id": "model-a",
            "embedding_length": LENGTH,
            "state": "live",
            "created_at": THEN,
        },
        "subjects": {"gallery": 1, "subject": "anna", "created_at": THEN},
        "samples": {
            "sample_id": sample_id("anna", WALK),
            "gallery": 1,
            "subject": 1,
            "created_at": THEN,
            "frames": frames,
            "metadata": '{"view":90}',
        },
        "silhouettes": {
            "sample": 1,
            "format": packed.format,
            "frames": frames,
            "height": height,
            "width": width,
            "data": packed.data,
        },
        "embeddings": {"generation": 1, "sample": 1, "vector": pack_embedding(EMBEDDING)},
        "changes": {"gallery": 1, "number": 2, "sample": 1, "kind": "enrolled"},
    }
    for name, values in rows.items():
        table = Table(name, MetaData(), autoload_with=connection)
        connection.execute(insert(table).values(values))


def make_store(folder, step, *, fill=True):
    """Make a store as it was after `step`; the first is filled, and what follows alters it."""
    database = Database(folder)
    with database.writing() as connection:
        migrate(connection, numbers()[0])
        if fill:
            fill_as_the_first_release_did(connection)
        migrate(connection, step)
        assert number_of(connection) == step
    return database


def execute(database, *statements):
    with database.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))
    database.close()


def assert_answers(folder):
    gallery = Gallery.open(folder, model_id="model-a", embedding_length=LENGTH)
    try:
        assert gallery.status().in_sync
        assert [c.subject for c in gallery.identify(EMBEDDING)] == ["anna"]
        (sample,) = gallery.subject("anna").samples
        assert (sample.metadata, sample.frames) == ({"view": 90}, 3)
        np.testing.assert_array_equal(gallery.silhouettes(sample.sample_id), WALK)
        assert gallery.enroll("anna", EMBEDDING, silhouettes=WALK).duplicate
        gallery.enroll("ben", -EMBEDDING, silhouettes=WALK)
        assert gallery.verify("ben", -EMBEDDING).distance == 0
        gallery.erase_subject("anna")
        assert gallery.status().samples == 1
    finally:
        gallery.close()


def test_the_numbers_leave_no_gap():
    assert numbers() == tuple(f"{place:04d}" for place in range(1, len(numbers()) + 1))


@pytest.mark.parametrize("step", numbers())
def test_a_store_of_every_step_opens_and_answers(location, step):
    make_store(location, step).close()
    assert_answers(location)
    database = Database(location)
    with database.reading() as connection:
        assert is_current(connection)
    database.close()


def test_a_rebuild_that_an_update_of_the_program_interrupted_goes_on(location):
    execute(
        make_store(location, "0006"),
        "UPDATE galleries SET audit_number = 7",
        "INSERT INTO jobs (id, gallery, kind, model_id, state, done, total, message, created_at, "
        f"updated_at) VALUES ('j', 1, 'rebuild', 'm', 'running', 3, 9, '', '{THEN}', '{THEN}')",
    )
    with closing(Store.open(location)) as store:
        taken = JobLog(store).take_up()
    assert taken is not None
    assert (taken.job_id, taken.done) == ("j", 3)


def test_a_store_that_the_first_release_made_is_recognised(location):
    execute(make_store(location, "0001"), "DROP TABLE alembic_version")
    assert_answers(location)


def test_the_first_release_refuses_a_store_of_today(location):
    Store.open(location).close()
    database = Database(location)
    with database.reading() as connection:
        # Version 0.1.0 reads only this number, and knows no other than 1.
        assert connection.scalar(text("SELECT max(version) FROM schema_version")) > 1
    database.close()


def test_the_steps_lead_to_the_tables_that_the_program_knows(location):
    store = Store.open(location)
    with store.database.reading() as connection:
        context = MigrationContext.configure(connection)
        known = {table.name for table in TABLES.sorted_tables}
        differences = compare_metadata(context, TABLES)
        assert set(inspect(connection).get_table_names()) - {"alembic_version"} == known
    store.close()
    assert differences == []


def test_a_store_of_a_newer_version_is_refused(location):
    execute(make_store(location, numbers()[-1]), "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreTooNew, match="9999: a newer metagait"):
        Store.open(location)


def test_a_migration_that_fails_changes_nothing(location):
    # A table of the second step is in its way.
    database = make_store(location, "0001")
    execute(database, "CREATE TABLE receipts (id INTEGER)")
    with pytest.raises(Exception, match="receipts"):
        Store.open(location)
    database = Database(location)
    with database.reading() as connection:
        assert number_of(connection) == "0001"
        columns = {column["name"] for column in inspect(connection).get_columns("samples")}
    assert "captured_at" not in columns
    execute(database, "DROP TABLE receipts")
    assert_answers(location)


def test_the_log_does_not_say_that_steps_are_not_undone(location, caplog):
    with caplog.at_level("INFO", "alembic"):
        Store.open(location).close()
    assert "Running upgrade" in caplog.text
    assert "non-transactional" not in caplog.text
