"""A rebuild spread over two worker processes of Ray."""

import os
import sys
from contextlib import closing, suppress
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sqlalchemy import select

from gallery import Gallery
from gallery.embedding import Batch
from gallery.errors import RebuildFailed, RebuildRefused
from gallery.on_ray import LOCAL, RayWorkers, Worker, _connect
from gallery.rebuild import rebuild
from gallery.schema import embeddings
from gallery.store import Store
from metagait import main
from model.encoder import SHIPPED_MODEL, EngineChoice, open_encoder
from model.silhouettes import align
from tests.fakes import walker
from tests.ray_workers import dies_at, dies_once, fails_at, nothing, opener
from tests.rebuilding import OLD, assert_finds, new_encoder, open_gallery, opened_store
from tests.rebuilding import walk as walk_of

# Ray takes some ten seconds to start, each time.
on_ray = pytest.mark.slow
FACTOR = b"-3.0"  # the fake model's file


def skip_without_ray():
    """Not by importing it: what it is told by its environment it reads then."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: the extra 'ray'")


@pytest.fixture
def spread(tmp_path):
    """Opens two workers that do something while they embed."""
    opened = []

    skip_without_ray()

    def open_with(during, **changes):
        (tmp_path / "new.onnx").write_bytes(FACTOR)
        opened.append(
            RayWorkers(
                tmp_path / "new.onnx",
                partial(opener, during=during),
                **{"model_id": "model-new", "workers": 2, **changes},
            )
        )
        return opened[-1]

    yield open_with
    for one in opened:
        one.close()


def stored(folder):
    """The live generation's embeddings by sample row."""
    with closing(Store.open(folder)) as store, store.database.reading() as connection:
        mine = embeddings.c.generation == store.head().generation
        return {
            row.sample: row.vector for row in connection.execute(select(embeddings).where(mine))
        }


@on_ray
def test_it_embeds_as_one_process_does_to_the_bit(tmp_path):
    skip_without_ray()
    for name in ("one", "spread"):
        (tmp_path / name).mkdir()
        with closing(
            Gallery.open(tmp_path / name, model_id="before-0", embedding_length=1)
        ) as gallery:
            for number in range(9):
                silhouettes = align(walker(10 + number, 13 + number), (64, 44)).silhouettes
                gallery.enroll(
                    f"p{number}", np.array([number], np.float32), silhouettes=silhouettes
                )
    with (
        closing(open_encoder(SHIPPED_MODEL, EngineChoice(threads=1, engine="onnxruntime"))) as one,
        closing(Store.open(tmp_path / "one")) as store,
    ):
        rebuild(store, one, batch=2)
    command = ["rebuild", "--data", str(tmp_path / "spread"), "--model", str(SHIPPED_MODEL)]
    command += ["--engine", "onnxruntime", "--batch", "2", "--ray", "--workers", "2"]
    assert main(command) == 0
    assert len(stored(tmp_path / "one")) == 9
    assert stored(tmp_path / "one") == stored(tmp_path / "spread")


@on_ray
def test_the_batch_of_a_worker_that_died_is_done_again(tmp_path, spread):
    workers = spread(partial(dies_once, tmp_path / "died"))
    with opened_store(tmp_path) as store:
        report = rebuild(store, new_encoder(), batch=2, spread=workers)
    assert (tmp_path / "died").exists()
    assert (report.embedded, report.switched) == (23, True)
    with closing(open_gallery(tmp_path, new_encoder())) as gallery:
        assert_finds(gallery, new_encoder(), range(23))


@on_ray
def test_a_batch_that_fails_ends_it_and_the_next_run_goes_on(tmp_path, spread):
    workers = spread(partial(fails_at, 20))
    with opened_store(tmp_path) as store:
        before = store.head()
        with pytest.raises(RebuildFailed, match="got: ValueError: a walk that no model likes"):
            rebuild(store, new_encoder(), batch=2, spread=workers)
        assert store.head() == before
        with closing(open_gallery(tmp_path, OLD)) as gallery:
            assert_finds(gallery, OLD, range(23))
        rest = rebuild(store, new_encoder(), batch=2)
    assert rest.switched
    assert rest.embedded < 23  # what came before the failure was kept


@on_ray
def test_a_batch_that_kills_every_worker_ends_it(tmp_path, spread):
    workers = spread(partial(dies_at, 20))
    with (
        opened_store(tmp_path) as store,
        pytest.raises(RebuildFailed, match="got 4 that died"),
    ):
        rebuild(store, new_encoder(), batch=2, spread=workers)


@on_ray
def test_batches_come_back_in_order_and_are_not_all_on_the_way_at_once(spread):
    workers, asked = spread(nothing), []

    def batches():
        for number in range(60):
            asked.append(number)
            yield Batch([number], [walk_of(number)])

    for place, (batch, vectors) in enumerate(workers.encode_each(batches())):
        assert batch.rows == [place]
        np.testing.assert_array_equal(vectors, new_encoder().encode([walk_of(place)]))
        assert len(asked) - place <= 4 * workers.workers + 1


@on_ray
def test_on_this_machine_it_listens_on_loopback_alone(spread):
    spread(nothing)
    addresses = [address for pid in _family(os.getpid()) for address in _listening(pid)]
    assert len(addresses) > 3
    assert {ip_address(one).is_loopback for one in addresses} == {True}


def _family(pid):
    """A process and all its descendants."""
    children = [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]
    return {pid, *(one for child in children for one in _family(child))}


def _listening(pid):
    """The addresses, v6 ones as v4 where they are mapped, on which a process listens."""
    with suppress(FileNotFoundError):
        mine = {os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()}
        for kind in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and f"socket:[{words[9]}]" in mine:
                    yield _address(words[1].partition(":")[0])


def _address(digits):
    """Read an address as /proc has it: words of 32 bits, each in this machine's order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    found = ip_address(packed)
    return str(getattr(found, "ipv4_mapped", None) or found)


@on_ray
def test_workers_of_another_model_are_refused(spread):
    with pytest.raises(RebuildFailed, match="workers with the model model-x, got"):
        spread(nothing, model_id="model-x")


def test_a_model_that_changed_on_its_way_is_refused():
    with pytest.raises(RebuildFailed, match="expected a model file of sha256 0000, got "):
        Worker(b"bytes", "0000", lambda path: SimpleNamespace())


def test_an_address_without_a_cluster_is_refused(spread):
    with pytest.raises(RebuildRefused, match=r"expected a Ray cluster at 127\.0\.0\.1:1, got"):
        spread(nothing, address="127.0.0.1:1")


class SlowRay:
    """Raises what Ray does where a machine has too much else to do."""

    shut = 0

    def init(self, **_options):
        raise Exception("The current node timed out during startup.")

    def shutdown(self):
        self.shut += 1


def test_a_ray_that_does_not_start_in_time_is_refused():
    ray = SlowRay()
    with pytest.raises(RebuildRefused, match="a Ray cluster at local, got: The current node timed"):
        _connect(ray, LOCAL, 2)
    assert ray.shut == 1
