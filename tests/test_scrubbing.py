"""What a command took away, and a reader of the write-ahead log that keeps it from being cut."""

import argparse
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from sqlalchemy import select

from gallery import Gallery, Model, StoreUnavailable
from gallery.commands import masterkey, rebuild, settings
from gallery.database import Database
from gallery.errors import NotScrubbed
from gallery.index import ExactIndex
from gallery.master_keys import read_master_key, write_master_key
from gallery.packing import pack_silhouettes
from gallery.rebuild import rebuild as rebuild_with
from gallery.schema import samples, subjects
from gallery.scrubbing import Scrubber
from gallery.store import Store
from gallery.wiping import Wiped
from tests.rebuilding import OLD, enroll, new_encoder, open_gallery, walk


@pytest.fixture
def folder(tmp_path):
    """A gallery of three people that a process has open, so that nothing else cuts its log."""
    data = tmp_path / "data"
    gallery = open_gallery(data, OLD)
    for seed in range(3):
        enroll(gallery, OLD, seed)
    yield data
    gallery.close()


@contextmanager
def reader(folder):
    with closing(Database(folder)) as database, database.reading() as connection:
        connection.execute(select(samples.c.id)).all()
        yield


def run(command, *words):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def in_files(folder, needle):
    return any(needle in path.read_bytes() for path in folder.iterdir() if path.is_file())


def first_walk():
    return pack_silhouettes(walk(0)).data[:64]


def wrapped_key(folder, key):
    with (
        closing(Store.open(folder, master_key=key)) as store,
        store.database.reading() as connection,
    ):
        return connection.scalars(select(subjects.c.wrapped_key)).first()


def test_dropped_generations_say_so_when_their_embeddings_may_be_left(folder, capsys):
    with closing(Store.open(folder)) as store:
        rebuild_with(store, new_encoder())
    needle = OLD.encode([walk(0)])[0].tobytes()
    drop = (rebuild, "--data", folder, "--drop-old")
    with reader(folder), pytest.raises(NotScrubbed, match="until the service is started next"):
        run(*drop)
    assert capsys.readouterr().out == "Dropped 1 generation.\n"
    assert in_files(folder, needle), "the search itself works"
    assert run(*drop) == 0
    assert not in_files(folder, needle)


def test_silhouettes_that_are_kept_no_more_say_so_when_they_may_be_left(folder, capsys):
    give_up = (settings, "--data", folder, "--set", "retention=embeddings-only")
    with reader(folder), pytest.raises(NotScrubbed):
        run(*give_up)
    assert "retention = embeddings-only" in capsys.readouterr().out
    assert in_files(folder, first_walk()), "the search itself works"
    assert run(settings, "--data", folder, "--set", "aggregation=mean") == 0
    assert run(*give_up) == 0
    assert not in_files(folder, first_walk())


def test_a_service_that_gave_silhouettes_up_cuts_the_log_with_its_next_write(folder):
    gallery = open_gallery(folder, OLD)
    with reader(folder):
        changed = gallery.change_settings({"retention": "embeddings-only"})
    assert changed.deletes_silhouettes
    assert in_files(folder, first_walk()), "the search itself works"
    enroll(gallery, OLD, 7)
    assert not in_files(folder, first_walk())
    gallery.close()


def test_the_master_key_says_so_when_what_it_took_away_may_be_left(folder, tmp_path, capsys):
    key_file, new_file = tmp_path / "key", tmp_path / "new"
    key = write_master_key(key_file)
    write_master_key(new_file)
    encrypt = (masterkey, "encrypt", "--data", folder, "--master-key-file", key_file)
    with reader(folder), pytest.raises(NotScrubbed):
        run(*encrypt)
    assert in_files(folder, first_walk()), "the search itself works"
    assert run(*encrypt) == 0
    assert not in_files(folder, first_walk())
    old = wrapped_key(folder, key)
    rotate = (masterkey, "rotate", new_file, "--data", folder, "--master-key-file")
    with reader(folder), pytest.raises(NotScrubbed):
        run(*rotate, key_file)
    printed = capsys.readouterr().out
    assert f"of 3 subjects with the master key {read_master_key(new_file).fingerprint}" in printed
    assert in_files(folder, old), "the search itself works"
    open_gallery(folder, OLD, read_master_key(new_file)).close()  # the start that the error names
    assert not in_files(folder, old)
    write_master_key(tmp_path / "newest")
    again = (masterkey, "rotate", tmp_path / "newest", "--data", folder, "--master-key-file")
    assert run(*again, new_file) == 0


def test_an_erasure_during_the_scrub_of_another_is_scrubbed_for_itself():
    scrubs = []

    def scrub():
        scrubs.append(len(scrubs))
        if len(scrubs) == 1:
            scrubber.owe()  # another thread's, which this scrub came too early for
        return Wiped.ALL

    store = SimpleNamespace(database=SimpleNamespace(scrub=scrub))
    scrubber = Scrubber(store, None, lambda: True)
    assert scrubber.scrub()
    assert scrubber.scrub()
    assert len(scrubs) == 2
    assert scrubber.scrub()
    assert len(scrubs) == 2, "nothing was left to do"


def test_an_enrolment_leaves_a_scrub_to_the_thread_that_is_at_it():
    asked = []

    def scrub():
        with ThreadPoolExecutor(1) as another:
            asked.append(another.submit(scrubber.scrub, wait=False).result(timeout=60))
        return Wiped.ALL

    store = SimpleNamespace(database=SimpleNamespace(scrub=scrub))
    scrubber = Scrubber(store, None, lambda: True)
    assert scrubber.scrub()
    assert asked == [False]


def test_what_could_not_be_scrubbed_is_tried_again():
    answers = [Wiped.HELD, Wiped.ALL]
    store = SimpleNamespace(database=SimpleNamespace(scrub=lambda: answers.pop(0)))
    scrubber = Scrubber(store, None, lambda: True)
    assert not scrubber.scrub()
    assert scrubber.scrub()
    assert answers == []


def test_a_gallery_whose_last_scrub_fails_leaves_nothing_open(tmp_path):
    def gone():
        raise StoreUnavailable("expected a database")

    model = Model(OLD.facts.model_id, OLD.facts.embedding_length)
    index = ExactIndex(model.embedding_length)
    gallery = Gallery(Store.open(tmp_path), model, index, gone)
    index.add(np.array([1]), np.ones((1, model.embedding_length), np.float32))
    with pytest.raises(StoreUnavailable, match="expected a database"):
        gallery.close()
    assert len(index) == 0, "closed, and its memory given back"
