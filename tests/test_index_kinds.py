"""What every kind of index has to do alike."""

from uuid import uuid4

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery.errors import EngineMissing
from gallery.index import ExactIndex
from gallery.indexes.gpu import GpuIndex
from gallery.indexes.milvus import MilvusIndex
from tests.indexes import LENGTH, check, compact, fill, vectors


def milvus(folder):
    folder.mkdir()
    return MilvusIndex(LENGTH, str(folder / "milvus.db"))


def on_server(url):
    return MilvusIndex(LENGTH, url, prefix=f"t{uuid4().hex}")


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
    "milvus, its server": None,
}


MILVUS = [pytest.param(name, marks=pytest.mark.milvus) for name in KINDS if "milvus" in name]
IN_PROCESS = [name for name in KINDS if "milvus" not in name]


@pytest.fixture(params=[*IN_PROCESS, *MILVUS])
def index(request, tmp_path):
    if (kind := KINDS[request.param]) is None:
        opened = on_server(request.getfixturevalue("real_milvus").url)
    else:
        opened = kind(tmp_path / "index")
    opened.begin("g1_a")
    yield opened
    if kind is None:
        opened.begin("g9_z", retired=["g1_a", "g2_b", "g7"])
    opened.close()


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


@pytest.mark.parametrize("index", IN_PROCESS, indirect=True)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(st.tuples(st.sampled_from("aar"), st.integers(1, 60)), min_size=1, max_size=8),
)
def test_any_additions_and_removals_leave_what_numpy_has(index, seed, steps):
    add_and_remove(index, seed, steps)


# A server takes long for each; these add and remove in turns, and end with little or nothing.
@pytest.mark.parametrize("index", MILVUS, indirect=True)
@pytest.mark.parametrize(
    "steps",
    [
        [("a", 60), ("r", 40), ("a", 5), ("r", 60), ("r", 1), ("a", 30)],
        [("r", 3), ("a", 1), ("r", 20), ("a", 2), ("a", 59), ("r", 60)],
    ],
)
def test_additions_and_removals_in_turns_leave_what_numpy_has(index, steps):
    add_and_remove(index, 7, steps)


def add_and_remove(index, seed, steps):
    """Add (`a`) and remove (`r`) so many rows, step by step, and compare what is left."""
    rng = np.random.default_rng(seed)
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
