"""Which kind of index is opened, and which is refused."""

from contextlib import ExitStack

import faiss
import pytest

from gallery.errors import EngineMissing
from gallery.indexes.choose import IndexChoice, open_index
from gallery.indexes.milvus import MilvusIndex
from tests.galleries import open_gallery
from tests.indexes import LENGTH, fill


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


def test_an_index_that_is_closed_twice_lets_other_files_alone(tmp_path):
    # As when a service moved to another model and is stopped after that.
    gallery = open_gallery(tmp_path, index=IndexChoice("compact", tmp_path / "index"))
    gallery.close()
    with ExitStack() as files:
        ours = [files.enter_context((tmp_path / "ours").open("w")) for _ in range(40)]
        gallery.close()
        for file in ours:
            file.write("still open")
            file.flush()
