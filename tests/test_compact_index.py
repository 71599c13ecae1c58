"""What the compact index has to do besides what every kind does: files, proofs, training."""

import numpy as np
import pytest

from gallery.errors import IndexUnavailable
from gallery.indexes.codes import BLOCK, CodeTable
from gallery.indexes.compact import DIMENSIONS
from gallery.indexes.principal import train
from gallery.indexes.projection import Codes
from gallery.indexes.slots import PAGE
from tests.indexes import (
    LENGTH,
    Halfway,
    Later,
    brute_force,
    check,
    compact,
    fill,
    reopened,
    vectors,
)


def test_the_compact_index_takes_up_what_it_held(tmp_path):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(200))
    index.remove(np.array([5], np.int64))
    again, held = reopened(index, tmp_path)
    assert sorted(held.rows.tolist()) == [row for row in range(200) if row != 5]
    assert (held.marks == held.rows * 7).all()
    del stored[5]
    stored |= fill(again, [900], seed=9)
    assert "numbers keep" in again.state
    check(again, stored, vectors(6, 5), 3)
    again.close()


def test_a_killed_process_leaves_what_it_had_written(tmp_path):
    index = compact(tmp_path / "live")
    index.begin("g1_a")
    stored = fill(index, range(100))
    # Nothing is closed or synced: these are the bytes that kill -9 would leave.
    (tmp_path / "dead").mkdir()
    for path in (tmp_path / "live").iterdir():
        (tmp_path / "dead" / path.name).write_bytes(path.read_bytes())
    again = compact(tmp_path / "dead")
    assert sorted(again.begin("g1_a").rows.tolist()) == list(range(100))
    check(again, stored, vectors(7, 3), 3)
    again.close()
    index.close()


def test_what_a_crash_tore_is_left_out(tmp_path):
    index = compact(tmp_path)
    index.begin("g1_a")
    fill(index, range(60))
    index._files.sync()
    fill(index, [60, 61, 62], seed=1)
    originals = bytearray((tmp_path / "originals").read_bytes())
    originals[61 * LENGTH * 4 + 2] ^= 1  # its vector
    (tmp_path / "originals").write_bytes(originals)
    (path,) = tmp_path.glob("codes-*")
    codes = bytearray(path.read_bytes())
    codes[62 * index._files.record.itemsize + 30] ^= 1  # its record
    path.write_bytes(codes)
    index._folder.close()  # as if the process had died here
    again = compact(tmp_path)
    assert sorted(again.begin("g1_a").rows.tolist()) == list(range(61))
    again.close()
    index._files.close()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", b"{}"),
        ("manifest.json", b"no json"),
        ("projection-1.npz", b"no zip"),
        ("originals", b"short"),
    ],
)
def test_doubtful_files_are_emptied_and_filled_again(tmp_path, name, content):
    index = compact(tmp_path)
    index.begin("g1_a")
    fill(index, range(100))
    index.close()
    (tmp_path / name).write_bytes(content)
    again = compact(tmp_path)
    assert again.begin("g1_a").rows.size == 0
    check(again, fill(again, range(70)), vectors(8, 2), 2)
    again.close()


def test_another_generation_or_length_keeps_nothing_of_the_former(tmp_path):
    index = compact(tmp_path)
    index.begin("g1_a")
    fill(index, range(50))
    again, held = reopened(index, tmp_path, dimensions=7)
    assert held.rows.size == 0
    again.close()


def test_a_vector_that_changed_on_the_disk_is_noticed_and_the_folder_believed_no_more(tmp_path):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(100))
    with (tmp_path / "originals").open("r+b") as file:
        file.seek(50 * LENGTH * 4)
        file.write(np.full(LENGTH, 30, np.float32).tobytes())
    with pytest.raises(IndexUnavailable, match="is not the one that its code was made from"):
        index.search(stored[50], 1)
    assert index.begin("g1_a").rows.size == 0
    index.close()


def test_erased_vectors_are_in_no_file(tmp_path):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(100))

    def files_with(row):
        wanted = stored[row].tobytes()[:16]
        return [path.name for path in tmp_path.iterdir() if wanted in path.read_bytes()]

    assert files_with(41) == ["originals"]
    (path,) = tmp_path.glob("codes-*")
    size = index._files.record.itemsize
    index.remove(np.array([41], np.int64))
    assert files_with(41) == []
    assert path.read_bytes()[41 * size : 42 * size] == bytes(size)
    assert files_with(42) == ["originals"]
    index.close()


def test_vectors_that_a_crash_left_in_unused_slots_are_in_no_file_after_a_start(tmp_path):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(60))
    index.remove(np.array([5], np.int64))
    (path,) = tmp_path.glob("codes-*")
    codes = bytearray(path.read_bytes())
    codes[59 * index._files.record.itemsize + 30] ^= 1  # the record of 59, which was torn
    path.write_bytes(codes)
    originals = tmp_path / "originals"
    # The vectors of a row, which were written when a kill came before its record.
    originals.write_bytes(originals.read_bytes() + stored[7].tobytes())
    with originals.open("r+b") as file:
        file.seek(5 * LENGTH * 4)
        file.write(stored[8].tobytes())
    index._folder.close()  # as if the process had died here
    again = compact(tmp_path)
    assert 59 not in again.begin("g1_a").rows
    again.remove(np.array([7, 8], np.int64))
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not any(stored[row].tobytes() in left for row in (7, 8, 59))
    assert stored[9].tobytes() in left
    check(again, {row: stored[row] for row in range(59) if row not in (5, 7, 8)}, vectors(6, 5), 3)
    again.close()


def test_two_processes_may_not_share_a_folder(tmp_path):
    index = compact(tmp_path)
    with pytest.raises(IndexUnavailable, match="only process that uses the index"):
        compact(tmp_path)
    index.close()
    compact(tmp_path).close()


def test_a_projection_that_keeps_too_little_is_refused_and_said_so(tmp_path, caplog):
    index = compact(tmp_path, enough=0.999)
    index.begin("g1_a")
    stored = fill(index, range(100))
    assert "which is too little" in index.state
    assert "goes on without it" in caplog.text
    check(index, stored, vectors(9, 3), 3)
    index.close()


def test_it_is_trained_again_when_the_gallery_has_doubled(tmp_path):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(50))
    assert index._cascade.projection.trained_at == 50
    stored |= fill(index, range(50, 95), seed=1)
    assert index._cascade.projection.trained_at == 50
    stored |= fill(index, range(95, 130), seed=2)
    assert index._cascade.projection.trained_at == 130
    assert [path.name for path in tmp_path.glob("codes-*")] == ["codes-2"]
    check(index, stored, vectors(10, 5), 3)
    index.close()


def test_what_comes_and_goes_while_it_trains_is_right_afterwards(tmp_path):
    worker = Later()
    index = compact(tmp_path, executor=worker)
    index.begin("g1_a")
    stored = fill(index, range(80))
    stored |= fill(index, range(80, 100), seed=1)
    index.remove(np.array([7, 90], np.int64))
    worker.finish()
    index.remove(np.array([8], np.int64))
    for row in (7, 8, 90):
        del stored[row]
    assert "numbers keep" in index.state
    check(index, stored, vectors(11, 10), 3)
    again, held = reopened(index, tmp_path)
    assert sorted(held.rows.tolist()) == sorted(stored)
    check(again, stored, vectors(12, 5), 3)
    again.close()


def test_who_is_erased_while_it_trains_is_in_no_file_of_the_new_codes(tmp_path):
    worker = Halfway()
    index = compact(tmp_path, executor=worker)
    index.begin("g1_a")
    stored = fill(index, range(PAGE + 100))
    worker.wait()
    size = index._files.record.itemsize
    codes = {slot: slice(slot * size, (slot + 1) * size) for slot in (41, 42)}
    new = tmp_path / "codes-1"
    assert any(new.read_bytes()[codes[41]]), "the search itself works"
    index.remove(np.array([41], np.int64))
    written = new.read_bytes()
    assert (any(written[codes[41]]), any(written[codes[42]])) == (False, True)
    worker.go_on()
    index.remove(np.array([PAGE + 1], np.int64))
    for row in (41, PAGE + 1):
        del stored[row]
    assert "numbers keep" in index.state
    check(index, stored, vectors(11, 10), 3)
    index.close()


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("failure", [MemoryError(), OSError(28, "no room")])
def test_a_training_that_fails_leaves_no_codes_and_the_index_as_it_was(
    tmp_path, caplog, failure, at_once
):
    def fail():
        raise failure

    index = compact(tmp_path, executor=(worker := Halfway(fail)))
    index.begin("g1_a")
    stored = fill(index, range(PAGE + 100))
    worker.wait()
    assert (tmp_path / "codes-1").exists(), "the search itself works"
    worker.go_on()
    assert not (tmp_path / "codes-1").exists()
    if not at_once:
        stored |= fill(index, [PAGE + 100], seed=1)
        assert repr(failure) in caplog.text
        check(index, stored, vectors(12, 5), 3)
    index.close()


def test_codes_of_a_training_that_was_killed_are_not_gone_on_with(tmp_path):
    index = compact(tmp_path, executor=(worker := Later()))
    index.begin("g1_a")
    fill(index, range(100))
    (tmp_path / "codes-1").write_bytes(b"left" * 10_000)
    worker.finish()
    index.remove(np.array([7], np.int64))
    assert b"left" not in (tmp_path / "codes-1").read_bytes()
    index.close()


def test_a_sample_takes_about_a_kilobyte_of_memory():
    rng = np.random.default_rng(0)
    taught = rng.normal(size=(700, DIMENSIONS)).astype(np.float32)
    projection = train(taught, DIMENSIONS, trained_at=700)
    table = CodeTable(projection)
    table.reserve(5 * BLOCK)
    table.put(np.arange(4 * BLOCK, 5 * BLOCK), Codes.none(BLOCK, DIMENSIONS))
    assert table.memory_bytes / (5 * BLOCK) < 1.1 * 1024


def test_empty_slots_are_never_compared(tmp_path):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(60))
    index.remove(np.arange(5, 55))
    stored = {row: vector for row, vector in stored.items() if row < 5 or row >= 55}
    for probe in (*vectors(16, 5), np.zeros(LENGTH, np.float32)):
        _, rows = index.search(probe, 2)
        assert rows.tolist() == brute_force(stored, probe, 2)[1].tolist()
    index.close()


def test_every_answer_is_counted_and_whether_it_was_proven(tmp_path):
    index = compact(tmp_path)
    index.begin("g1_a")
    fill(index, range(300))
    for probe in vectors(13, 10):
        index.search(probe, 2)
    assert index.proofs == (10, 10, 10)
    assert "10 of 10 answers proven exact, which changed 0" in index.state
    index.close()


@pytest.fixture
def unproven(monkeypatch):
    """A large gallery in small: searches are checked now and then, and name few."""
    monkeypatch.setattr("gallery.indexes.compact.PROVEN_UP_TO", 100)
    monkeypatch.setattr("gallery.indexes.compact.CHECKED_EVERY", 5)
    monkeypatch.setattr("gallery.indexes.cascade._PROMISING", 40)
    monkeypatch.setattr("gallery.indexes.cascade._PROMISING_EACH", 0)


def test_in_a_large_gallery_one_answer_in_so_many_is_proven(tmp_path, unproven):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(1000))
    right = 0
    for number, probe in enumerate(vectors(17, 50)):
        squared, rows = index.search(probe, 2)
        expected = brute_force(stored, probe, 2)[1].tolist()
        right += rows.tolist() == expected
        np.testing.assert_allclose(
            squared, ((np.stack([stored[r] for r in rows.tolist()]) - probe) ** 2).sum(1), rtol=1e-4
        )
        assert number % 5 or rows.tolist() == expected
    assert right >= 45
    assert index.proofs[:2] == (50, 10)
    index.close()


def test_a_proof_mends_an_answer_whose_sketches_misled_it_and_says_so(tmp_path, unproven):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(400))
    probe = vectors(18, 1)[0]
    nearest = int(brute_force(stored, probe, 1)[1][0])
    # As if this sample's sketch were a bad likeness: in the corner, where no probe looks.
    index._cascade.table._sketches.drop(np.array([nearest]))
    assert index.search(probe, 1)[1].tolist() == [nearest]
    assert index.search(probe, 1)[1].tolist() != [nearest]
    assert index.proofs == (2, 1, 0)
    assert "which changed 1" in index.state
    index.close()


def test_a_slot_that_is_used_again_is_found_by_its_new_sketch(tmp_path, unproven):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(300))
    index.remove(np.arange(10, 200))
    for row in range(10, 200):
        del stored[row]
    stored |= fill(index, range(1000, 1150), seed=19)
    for row in (1000, 1077, 1149, 299, 5):
        squared, rows = index.search(stored[row], 1)
        assert (rows.tolist(), squared[0]) == ([row], pytest.approx(0, abs=1e-4))
    assert index.proofs.proven < 5
    index.close()


def test_where_the_sketches_name_too_few_a_proof_finds_the_rest(tmp_path, unproven):
    index = compact(tmp_path)
    index.begin("g1_a")
    stored = fill(index, range(600))
    index.remove(np.arange(250, 600))
    stored = {row: vector for row, vector in stored.items() if row < 250}
    for probe in vectors(20, 4):
        assert index.search(probe, 50)[1].tolist() == brute_force(stored, probe, 50)[1].tolist()
    index.close()
