"""What every kind of index has to do alike, and what the compact kind has to do besides."""

from concurrent.futures import Executor, Future

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery.errors import EngineMissing, IndexUnavailable
from gallery.index import ExactIndex
from gallery.indexes.choose import IndexChoice, open_index
from gallery.indexes.codes import BLOCK, CodeTable
from gallery.indexes.compact import DIMENSIONS, CompactIndex
from gallery.indexes.gpu import GpuIndex
from gallery.indexes.milvus import MilvusIndex

LENGTH = 24


class AtOnce(Executor):
    """Does in `submit` what a worker would do later."""

    def submit(self, work, /, *arguments, **named):
        done = Future()
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)
        return done


def compact(folder, **changes):
    choices = {"dimensions": 8, "first_at": 40, "enough": 0.3, "executor": AtOnce(), **changes}
    return CompactIndex(LENGTH, folder, **choices)


def milvus(folder):
    folder.mkdir()
    return MilvusIndex(LENGTH, str(folder / "milvus.db"))


def on_gpu(_folder):
    try:
        return GpuIndex(LENGTH)
    except EngineMissing as error:
        pytest.skip(f"no GPU: {error}")


KINDS = {
    "exact": lambda _folder: ExactIndex(LENGTH),
    "compact": compact,
    "compact, never trained": lambda folder: compact(folder, first_at=10**9),
    "gpu": on_gpu,
    # The logic of the GPU kind over the processor's flat index, which takes the same calls.
    "gpu, without one": lambda _folder: GpuIndex(LENGTH, faiss.IndexFlatL2),
    "milvus": milvus,
}


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.milvus] * (name == "milvus")) for name in KINDS]
)
def index(request, tmp_path):
    opened = KINDS[request.param](tmp_path / "index")
    opened.begin("g1_a")
    yield opened
    opened.close()


def vectors(seed, count, subjects=10):
    """Vectors that spread as embeddings do: between subjects, less within, in few directions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(subjects, 4)) @ np.eye(4, LENGTH) * 3
    own = centres[rng.integers(0, subjects, count)]
    return (own + rng.normal(size=(count, LENGTH)) * 0.4 + 1).astype(np.float32)


def fill(index, rows, seed=0):
    rows = np.asarray(rows, np.int64)
    added = vectors(seed, len(rows))
    index.add(rows, added, rows * 7)
    return dict(zip(rows.tolist(), added, strict=True))


def brute_force(stored, probe, k):
    rows = np.array(list(stored))
    squared = ((np.stack(list(stored.values())).astype(np.float64) - probe) ** 2).sum(axis=1)
    order = np.argsort(squared, kind="stable")[:k]
    return squared[order], rows[order]


def check(index, stored, probes, k):
    assert len(index) == len(stored)
    for probe in probes:
        squared, rows = index.search(probe, k)
        expected_squared, expected_rows = brute_force(stored, probe, k)
        assert (squared.dtype, rows.dtype, squared.shape) == (np.float32, np.int64, (k,))
        np.testing.assert_allclose(squared, expected_squared, rtol=2e-4, atol=1e-4)
        assert rows.tolist() == expected_rows.tolist()


@pytest.mark.parametrize("k", [1, 5, 60])
def test_it_answers_as_numpy_does(index, k):
    stored = fill(index, range(3, 303))
    check(index, stored, vectors(1, 20), k)


def test_it_finds_a_vector_itself_at_distance_zero(index):
    stored = fill(index, range(200))
    for row in (0, 77, 199):
        squared, rows = index.search(stored[row], 1)
        assert (rows[0], squared[0]) == (row, pytest.approx(0, abs=1e-4))


def test_it_returns_every_row_when_it_is_asked_for_all(index):
    stored = fill(index, range(120))
    check(index, stored, vectors(2, 2), 120)


def test_removed_rows_are_gone_and_unknown_ones_are_ignored(index):
    stored = fill(index, range(150))
    index.remove(np.array([3, 140, 10_000], np.int64))
    index.remove(np.empty(0, np.int64))
    del stored[3], stored[140]
    stored |= fill(index, range(500, 510), seed=5)
    check(index, stored, [*vectors(3, 5), *vectors(0, 150)[[3, 140]]], 4)


def test_under_another_name_it_holds_nothing(index):
    fill(index, range(60))
    assert index.begin("g2_b", retired=["g1_a"]).rows.size == 0
    assert len(index) == 0
    check(index, fill(index, range(60, 130), seed=4), vectors(5, 3), 3)


def test_without_a_name_it_holds_nothing_and_keeps_nothing(index):
    fill(index, range(60))
    assert index.begin(None).rows.size == 0
    assert len(index) == 0
    if index.kind != "milvus":  # other replicas may still answer from its collection
        assert index.begin("g1_a").rows.size == 0


def test_it_says_what_it_is(index):
    assert index.kind in {"exact", "compact", "gpu", "milvus"}
    assert index.state


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(st.tuples(st.sampled_from("aar"), st.integers(1, 60)), min_size=1, max_size=8),
)
def test_any_additions_and_removals_leave_what_numpy_has(index, seed, steps):
    rng = np.random.default_rng(seed)
    if index.kind == "milvus":
        pytest.skip("slow; the tests above add and remove as well")
    index.begin(None)  # the example before this one may have had the same seed
    index.begin(f"g{seed}")
    stored, next_row = {}, 0
    for kind, count in steps:
        if kind == "a":
            stored |= fill(index, range(next_row, next_row + count), seed=seed + next_row)
            next_row += count
        else:
            gone = rng.integers(0, next_row + 3, count)
            index.remove(gone)
            for row in gone.tolist():
                stored.pop(row, None)
    assert len(index) == len(stored)
    if stored:
        check(index, stored, vectors(seed + 1, 2), min(3, len(stored)))


def reopened(index, folder, **changes):
    index.close()
    again = compact(folder, **changes)
    return again, again.begin("g1_a")


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


class Later(AtOnce):
    """Does the work when it is told to."""

    def submit(self, work, /, *arguments, **named):
        self.finish = lambda: done.set_result(work(*arguments, **named))
        done = Future()
        return done


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


def test_a_sample_takes_about_a_kilobyte_of_memory():
    table = CodeTable(DIMENSIONS)
    table.reserve(5 * BLOCK)
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
    assert index.proofs == (10, 10)
    assert "10 of 10 answers proven exact" in index.state
    index.close()


def test_the_gaps_of_removed_rows_are_closed_on_a_gpu():
    index = GpuIndex(LENGTH, faiss.IndexFlatL2)
    stored = fill(index, range(700))
    index.remove(np.arange(100, 400))
    for row in range(100, 400):
        del stored[row]
    assert index._flat.ntotal == 400
    check(index, stored, vectors(14, 3), 5)


def test_more_than_a_gpu_can_find_is_found_all_the_same():
    index = GpuIndex(LENGTH, faiss.IndexFlatL2)
    stored = fill(index, range(2300))
    check(index, stored, vectors(15, 1), 2200)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"kind": "gpu"}, "expected a (FAISS with GPU support|GPU) for the index kind gpu"),
        ({"kind": "fast"}, "expected an index kind of exact, compact, gpu, milvus, got 'fast'"),
        ({"kind": "milvus", "milvus_type": "DISKANN"}, "expected a Milvus index type of FLAT, .*"),
    ],
)
def test_a_kind_that_cannot_run_here_is_refused_and_not_replaced(tmp_path, choice, sentence):
    if choice["kind"] == "gpu" and getattr(faiss, "get_num_gpus", int)():
        pytest.skip("there is a GPU here")
    with pytest.raises(EngineMissing, match=sentence):
        open_index(IndexChoice(folder=tmp_path, **choice), "main", "model-a", LENGTH)


@pytest.mark.parametrize("kind", ["compact", "milvus"])
def test_an_encrypted_gallery_gets_no_index_that_writes_embeddings_as_they_are(tmp_path, kind):
    with pytest.raises(EngineMissing, match=f"exact or gpu for an encrypted gallery, got {kind}"):
        open_index(IndexChoice(kind, tmp_path), "main", "model-a", LENGTH, encrypted=True)


def test_milvus_refuses_what_it_cannot_hold():
    with pytest.raises(EngineMissing, match="at most 32768 numbers for Milvus, got 40000"):
        MilvusIndex(40_000, "nowhere.db")


def test_the_files_of_a_model_that_answers_no_more_are_emptied(tmp_path):
    choice = IndexChoice(kind="compact", folder=tmp_path)
    first = open_index(choice, "main", "model-a", LENGTH)
    first.begin("g1_a")
    stored = fill(first, range(10))
    second = open_index(choice, "main", "model-b", LENGTH)  # the first still answers
    assert len(list(tmp_path.rglob("originals"))) == 1
    second.close()
    first.close()
    open_index(choice, "main", "model-b", LENGTH).close()
    wanted = stored[0].tobytes()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(wanted in path.read_bytes() for path in files)
