"""Silhouettes that a sample lacks come with its walk when that is enrolled again.

Each story is told on both databases, with and without encryption.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from gallery import Gallery, MasterKey, RebuildRefused, SilhouettesNotKept, audit
from gallery.packing import pack_silhouettes
from gallery.rebuild import rebuild
from gallery.schema import silhouettes
from gallery.store import Store
from tests.caller import Caller
from tests.fakes import npy, walker
from tests.rebuilding import OLD, new_encoder, open_gallery, walk

KEY = MasterKey(bytes(range(32)))
Again = Callable[[Gallery], object]


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> MasterKey | None:
    master_key: MasterKey | None = request.param
    return master_key


@pytest.fixture
def held(location: str | Path, key: MasterKey | None) -> Iterator[Gallery]:
    with closing(open_gallery(location, OLD, master_key=key)) as opened:
        yield opened


def enroll(held: Gallery, seed: int = 1) -> str:
    embedding = OLD.encode([walk(seed)])[0]
    return held.enroll("anna", embedding, silhouettes=walk(seed)).sample.sample_id


def lose_silhouettes(held: Gallery) -> None:
    held.change_settings({"retention": "embeddings-only"})
    held.change_settings({"retention": "keep"})


def known_before(held: Gallery) -> object:
    return held.enrolled_before("anna", walk(1))


AGAIN = pytest.mark.parametrize("again", [enroll, known_before])


def data_in(held: Gallery) -> list[bytes]:
    with held._store.database.reading() as connection:
        return list(connection.scalars(select(silhouettes.c.data)))


@AGAIN
def test_a_walk_enrolled_again_brings_back_its_silhouettes(
    held: Gallery, key: MasterKey | None, again: Again
) -> None:
    sample_id = enroll(held)
    other = enroll(held, 2)
    lose_silhouettes(held)
    assert held.status().without_silhouettes == 2
    with pytest.raises(SilhouettesNotKept):
        held.silhouettes(sample_id)
    again(held)
    np.testing.assert_array_equal(held.silhouettes(sample_id), walk(1))
    frames = {one.sample_id: one.frames for one in held.subject("anna").samples}
    assert frames == {sample_id: len(walk(1)), other: 0}
    status = held.status()
    assert (status.samples, status.without_silhouettes, status.in_sync) == (2, 1, True)
    assert (data_in(held) == [pack_silhouettes(walk(1)).data]) == (key is None)
    again(held)
    assert len(data_in(held)) == 1


def test_the_answer_counts_the_frames_that_are_kept_now(held: Gallery) -> None:
    enroll(held)
    lose_silhouettes(held)
    known = held.enrolled_before("anna", walk(1))
    assert known is not None
    assert (known.duplicate, known.sample.frames) == (True, len(walk(1)))


def test_a_gallery_of_embeddings_only_keeps_none_later_either(held: Gallery) -> None:
    enroll(held)
    held.change_settings({"retention": "embeddings-only"})
    known_before(held)
    enroll(held)
    assert data_in(held) == []


def test_a_rebuild_that_was_refused_goes_through(
    location: str | Path, key: MasterKey | None, held: Gallery
) -> None:
    enroll(held)
    lose_silhouettes(held)
    with closing(Store.open(location, master_key=key)) as store:
        with pytest.raises(RebuildRefused, match="enrol their walks again"):
            rebuild(store, new_encoder())
        known_before(held)
        assert rebuild(store, new_encoder()).embedded == 1


@AGAIN
def test_it_is_one_transaction_with_its_row_in_the_audit_log(
    tmp_path: Path, key: MasterKey | None, again: Again
) -> None:
    with closing(open_gallery(tmp_path, OLD, master_key=key)) as held:
        sample_id = enroll(held)
        lose_silhouettes(held)
        with held._store.database.writing() as connection:
            refuses = "BEGIN SELECT RAISE(ABORT, 'no more'); END"
            connection.execute(text(f"CREATE TRIGGER t BEFORE INSERT ON audit {refuses}"))
        with pytest.raises(IntegrityError, match="no more"):
            again(held)
        assert data_in(held) == []
        assert held.subject("anna").samples[0].frames == 0
        with held._store.database.writing() as connection:
            connection.execute(text("DROP TRIGGER t"))
        again(held)
        assert len(held.silhouettes(sample_id)) == len(walk(1))
        with held._store.database.reading() as connection:
            rows = list(audit.export(connection, "main"))
        assert (rows[-1]["outcome"], rows[-1]["counts"]) == (
            "duplicate",
            {"samples": 0, "silhouettes": 1},
        )


def test_somebody_older_than_the_master_key_is_sealed_with_it(location: str | Path) -> None:
    with closing(open_gallery(location, OLD)) as plain:
        sample_id = enroll(plain)
        lose_silhouettes(plain)
    with closing(open_gallery(location, OLD, master_key=KEY)) as held:
        assert held.status().plain_subjects == 1
        known_before(held)
        assert held.status().plain_subjects == 0
        assert data_in(held) != [pack_silhouettes(walk(1)).data]
        np.testing.assert_array_equal(held.silhouettes(sample_id), walk(1))
        assert held.verify("anna", OLD.encode([walk(1)])[0]).distance == 0


def test_another_process_counts_them_too(
    location: str | Path, held: Gallery, key: MasterKey | None
) -> None:
    enroll(held)
    lose_silhouettes(held)
    with closing(open_gallery(location, OLD, master_key=key)) as other:
        assert other.status().without_silhouettes == 1
        known_before(held)
        assert other.status().without_silhouettes == 0


def test_the_service_keeps_them_when_the_walk_comes_again(client: Caller) -> None:
    def enrol() -> tuple[int, bool]:
        body = {"sequence": ("w", npy(walker(10)))}
        answer = client.post("/enroll", data={"subject": "ann"}, files=body)
        return answer.status_code, answer.json()["duplicate"]

    def settings(retention: str) -> None:
        assert client.patch("/galleries/main", json={"retention": retention}).status_code == 200

    assert enrol() == (201, False)
    (sample,) = client.get("/subjects/ann").json()["samples"]
    settings("embeddings-only")
    assert client.get(f"/samples/{sample['sample_id']}/walk").status_code == 404
    settings("keep")
    assert enrol() == (200, True)
    assert client.get(f"/samples/{sample['sample_id']}/walk").json()["frames"] == 20
    assert client.get("/subjects/ann").json()["samples"][0]["frames"] == 20
