"""A gallery beside others of its store: what they wrote, its index, and models that change."""

import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy import delete, insert, select

from gallery import Galleries, GallerySize, ModelMismatch
from gallery.following import CHUNK
from gallery.index import ExactIndex
from gallery.schema import TABLES
from tests.counting import noted_counts
from tests.galleries import LENGTH, embedding, open_gallery, walk


def test_two_galleries_on_one_file_see_each_others_writes(location):
    here, there = open_gallery(location), open_gallery(location)
    here.enroll("anna", embedding(1), silhouettes=walk(1))
    assert there.identify(embedding(1))[0].subject == "anna"
    sample = there.enroll("ben", embedding(2), silhouettes=walk(2)).sample
    assert here.identify(embedding(2))[0].subject == "ben"
    here.erase_subject("anna")
    assert [c.subject for c in there.identify(embedding(1))] == ["ben"]
    there.erase_sample(sample.sample_id)
    for gallery in (here, there):
        assert gallery.identify(embedding(1)) == ()
        assert gallery.status().in_sync
        gallery.close()


def test_an_older_state_under_an_open_gallery_takes_back_who_came_since(location):
    here = open_gallery(location)
    here.enroll("anna", embedding(1), silhouettes=walk(1))
    with here._store.database.reading() as connection:
        kept = {table: connection.execute(select(table)).all() for table in TABLES.sorted_tables}
    here.enroll("ben", embedding(2), silhouettes=walk(2))
    assert here.identify(embedding(2))[0].subject == "ben"
    with here._store.database.writing() as connection:  # as a server's own restore does
        for table in reversed(TABLES.sorted_tables):
            connection.execute(delete(table))
        for table, rows in kept.items():
            if rows:
                connection.execute(insert(table), [row._asdict() for row in rows])
    assert [one.subject for one in here.identify(embedding(2))] == ["anna"]
    assert here.status().in_sync
    here.close()


ENROLL_AND_ERASE = """
import sys
import numpy as np
from gallery import Gallery

gallery = Gallery.open(sys.argv[1], model_id="model-a", embedding_length=8)
for number, who in enumerate(("ben", "ben", "cem", "dan")):
    gallery.enroll(who, np.full(8, number, np.float32), silhouettes=None)
gallery.erase_subject("dan")
gallery.close()
"""


def test_the_size_is_known_without_counting_after_any_process_wrote(location):
    here = open_gallery(location)
    with noted_counts(here) as counting:
        anna = here.enroll("anna", embedding(1), silhouettes=None).sample
        here.enroll("anna", embedding(2), silhouettes=None)
        assert (here.size().subjects, here.size().samples) == (1, 2)
        command = [sys.executable, "-c", ENROLL_AND_ERASE, str(location)]
        subprocess.run(command, check=True, timeout=120)
        assert here.identify(embedding(1))[0].subject == "anna"
        assert here.size() == GallerySize("main", 1, subjects=3, samples=5)
        here.size()
        assert counting == []
        here.erase_sample(anna.sample_id)
        here.erase_subject("ben")
        assert here.size() == GallerySize("main", 1, subjects=2, samples=2)
        counting.clear()  # an erasure counts what is left of it
        here.size()
        assert counting == []
        status = here.status()
        assert counting != []
    assert (status.subjects, status.samples, status.in_sync) == (2, 2, True)
    here.close()


def test_the_size_of_another_models_gallery_is_counted(location):
    first = open_gallery(location)
    first.enroll("anna", embedding(1), silhouettes=None)
    first.close()
    other = open_gallery(location, "model-b")
    assert other.size() == GallerySize("main", 1, subjects=1, samples=1)
    other.close()


def test_what_came_and_went_between_two_looks_is_not_found(location):
    here, there = open_gallery(location), open_gallery(location)
    for seed in range(3):
        here.enroll("anna", embedding(seed), silhouettes=walk(seed))
    here.erase_subject("anna")
    here.enroll("ben", embedding(9), silhouettes=walk(9))
    assert [c.subject for c in there.identify(embedding(0))] == ["ben"]
    assert there.status().indexed == 1
    here.close()
    there.close()


def test_a_reopened_gallery_fills_its_index_from_the_store(location):
    first = open_gallery(location)
    for seed in range(CHUNK + 20):
        first.enroll(f"s{seed % 50}", embedding(seed), silhouettes=None)
    first.close()
    again = open_gallery(location)
    assert again.status().in_sync
    assert again.status().indexed == CHUNK + 20
    assert again.identify(embedding(CHUNK + 7))[0].subject == "s13"
    again.close()


def test_rows_are_counted_once_for_each_change_by_any_process(location):
    here, there = open_gallery(location), open_gallery(location)
    there.enroll("anna", embedding(1), silhouettes=walk(1))
    with noted_counts(here) as counting:
        before = here.status()
        assert (before.samples, before.in_sync, counting != []) == (1, True, True)
        counting.clear()
        assert (here.status(), counting) == (before, [])
        there.enroll("ben", embedding(2), silhouettes=None)
        after = here.status()
        assert (after.subjects, after.without_silhouettes, counting != []) == (2, 1, True)
        there.change_settings({"retention": "embeddings-only"})
        assert (here.status().retention, here.status().without_silhouettes) == (
            "embeddings-only",
            2,
        )
        there.erase_subject("ben")
        assert (here.status().samples, here.status().in_sync) == (1, True)
    for gallery in (here, there):
        gallery.close()


class BrokenIndex(ExactIndex):
    """Fails once, half-way: it has taken the rows and then says that it could not."""

    fails = False

    def add(self, rows, vectors, marks=None):
        super().add(rows, vectors, marks)
        if self.fails:
            self.fails = False
            raise MemoryError


def test_an_index_that_failed_half_way_starts_over(location):
    index = BrokenIndex(LENGTH)
    gallery = open_gallery(location, index=index)
    gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    index.fails = True
    with pytest.raises(MemoryError):
        gallery.enroll("ben", embedding(2), silhouettes=walk(2))
    assert [c.subject for c in gallery.identify(embedding(2))] == ["ben", "anna"]
    assert (len(index), gallery.status().in_sync) == (2, True)
    gallery.close()


def test_in_sync_is_compared_and_not_assumed(location):
    index = ExactIndex(LENGTH)
    gallery = open_gallery(location, index=index)
    gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    assert gallery.status().in_sync
    index.begin("emptied")
    assert not gallery.status().in_sync
    gallery.close()


def test_the_list_of_galleries_counts_only_those_that_have_changed(location):
    here, lab = open_gallery(location), open_gallery(location, name="lab")
    for seed, name in enumerate(("anna", "anna", "ben")):
        here.enroll(name, embedding(seed), silhouettes=None)
    with closing(Galleries.open(location)) as galleries, noted_counts(galleries) as counting:
        assert galleries.all() == (("lab", 0, 0), ("main", 2, 3))
        assert len(counting) == 4
        counting.clear()
        assert (galleries.all(), counting) == ((("lab", 0, 0), ("main", 2, 3)), [])
        sample = lab.enroll("cem", embedding(7), silhouettes=None).sample.sample_id
        assert galleries.all() == (("lab", 1, 1), ("main", 2, 3))
        assert len(counting) == 2
        lab.erase_sample(sample)
        here.erase_subject("anna")
        assert galleries.all() == (("lab", 0, 0), ("main", 1, 1))
        lab.close()
        galleries.delete("lab")
        assert galleries.all() == (("main", 1, 1),)
        galleries.make("lab")
        assert galleries.all() == (("lab", 0, 0), ("main", 1, 1))
    here.close()


def test_another_model_may_list_and_erase_but_not_compare(location):
    first = open_gallery(location)
    sample = first.enroll("anna", embedding(1), silhouettes=walk(1)).sample
    first.close()
    other = open_gallery(location, "model-b")
    for ask in (
        lambda: other.enroll("ben", embedding(2), silhouettes=walk(2)),
        lambda: other.enrolled_before("anna", walk(1)),
        lambda: other.identify(embedding(1)),
        lambda: other.verify("anna", embedding(1)),
    ):
        with pytest.raises(ModelMismatch, match=r"model-b .*model-a .*metagait rebuild --model"):
            ask()
    status = other.status()
    assert (status.model_id, status.indexed, status.in_sync) == ("model-a", 0, False)
    assert other.subject("anna").samples == (sample,)
    other.erase_subject("anna")
    assert other.enroll("ben", embedding(2), silhouettes=walk(2)).sample.model_id == "model-b"
    assert other.status().in_sync
    other.close()


def test_an_empty_gallery_adopts_the_model_it_is_opened_for(location):
    open_gallery(location).close()
    other = open_gallery(location, "model-b", length=3)
    status = other.status()
    assert (status.model_id, status.embedding_length, status.in_sync) == ("model-b", 3, True)
    other.close()
    back = open_gallery(location)
    assert back.status().model_id == "model-a"
    back.close()
