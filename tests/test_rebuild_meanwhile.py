"""Rebuilds while people are enrolled and erased, and rebuilds that died half-way."""

import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from gallery import ModelMismatch
from gallery.rebuild import rebuild
from gallery.store import Store
from tests.rebuilding import (
    OLD,
    KilledError,
    assert_finds,
    enroll,
    new_encoder,
    open_gallery,
    opened_store,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def store(tmp_path):
    with opened_store(tmp_path) as opened:
        yield opened


def test_enrolments_and_erasures_that_arrive_meanwhile_are_in_the_new_generation(tmp_path, store):
    serving = open_gallery(tmp_path, OLD)
    # Six calls, before those that the switch makes while nobody can enrol.
    arriving = iter([100, None, 101, None, None, 102])

    def while_it_encodes(_walks):
        assert_finds(serving, OLD, [20])  # the service goes on answering
        seed = next(arriving, None)
        if seed is not None:
            enroll(serving, OLD, seed)
            serving.erase_subject(f"s{seed - 100}")  # s0 is in the batch that is being encoded

    encoder = new_encoder(while_it_encodes)
    report = rebuild(store, encoder, batch=4)
    serving.close()
    encoder.during = lambda walks: None
    upgraded = open_gallery(tmp_path, encoder)
    assert report.switched
    assert_finds(upgraded, encoder, [*range(3, 23), 100, 101, 102])
    status = upgraded.status()
    assert (status.samples, status.indexed, status.in_sync) == (23, 23, True)
    upgraded.close()


class VisitedStore(Store):
    """Somebody enrols each time the samples are counted, as long as there is somebody."""

    visitors = ()

    def counts(self, connection, generation):
        counted = super().counts(connection, generation)
        if self.visitors:
            gallery, seed = self.visitors.pop(0)
            enroll(gallery, OLD, seed)
        return counted


def test_who_enrols_between_the_check_and_the_switch_is_embedded_first(tmp_path, store):
    serving, visited, encoder = (
        open_gallery(tmp_path, OLD),
        VisitedStore.open(tmp_path),
        new_encoder(),
    )
    visited.visitors = [(serving, 200), (serving, 201)]
    assert rebuild(visited, encoder).embedded == 25
    upgraded = open_gallery(tmp_path, encoder)
    assert_finds(upgraded, encoder, [*range(23), 200, 201])
    for opened in (serving, visited, upgraded):
        opened.close()


def test_a_rebuild_ends_where_people_enrol_all_the_time(tmp_path, store):
    serving, threads = open_gallery(tmp_path, OLD), []

    def enrol_unless_it_has_switched(seed):
        with suppress(ModelMismatch):
            enroll(serving, OLD, seed)

    def another_one(_walks):
        # Is there before the call ends, except where the switch keeps it waiting.
        seed = 100 + len(threads)
        thread = threading.Thread(target=enrol_unless_it_has_switched, args=(seed,))
        threads.append(thread)
        thread.start()
        thread.join(0.3)

    report = rebuild(store, new_encoder(another_one), batch=8)
    for thread in threads:
        thread.join()
    serving.close()
    assert report.switched
    assert report.embedded >= 25, "also those of the last moment are in the generation"


def test_a_rebuild_that_died_is_continued(tmp_path, store):
    def die_at_the_third_batch(_walks):
        if dying.encoded == 10:
            raise KilledError

    dying = new_encoder(die_at_the_third_batch)
    with pytest.raises(KilledError):
        rebuild(store, dying, batch=5)
    serving = open_gallery(tmp_path, OLD)
    assert_finds(serving, OLD, range(23))
    serving.close()
    fresh, seen = new_encoder(), []
    report = rebuild(store, fresh, batch=5, progress=lambda done, total: seen.append(done))
    assert (report.embedded, fresh.encoded) == (13, 13)
    assert seen == [15, 20, 23]


REBUILD_SLOWLY = """
import sys, time
from tests.rebuilding import (
    new_encoder,
)
from gallery.rebuild import rebuild
from gallery.store import Store

rebuild(Store.open(sys.argv[1]), new_encoder(lambda walks: time.sleep(0.02)), batch=4,
        progress=lambda done, total: print(done, flush=True))
"""


def test_a_rebuild_that_was_killed_is_continued_by_the_next(tmp_path):
    gallery = open_gallery(tmp_path, OLD)
    for seed in range(90):
        enroll(gallery, OLD, seed)
    gallery.close()
    command = [sys.executable, "-c", REBUILD_SLOWLY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert any(int(line) >= 80 for line in process.stdout)
        process.kill()
    with closing(Store.open(tmp_path)) as store:
        encoder = new_encoder()
        report = rebuild(store, encoder)
    assert report.switched
    assert report.embedded <= 90 - 32, "what was written before the kill is not embedded again"
    upgraded = open_gallery(tmp_path, encoder)
    assert_finds(upgraded, encoder, range(0, 90, 9))
    assert upgraded.status().in_sync
    upgraded.close()
