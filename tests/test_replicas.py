"""Several processes on one store: each sees at once what another enrolled and erased."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, IndexChoice
from service.errors import StartError
from service.serve import only_service
from service.settings import Settings
from tests.milvus import MilvusServer
from tests.postgres import Server

LENGTH = 16
# What a test waits for a server on a busy machine.
_SECONDS = 180

REPLICA = """
import json, sys
from pathlib import Path
import numpy as np
from gallery import Gallery, IndexChoice

url, choice = sys.argv[1], json.loads(sys.argv[2])
choice["folder"] = Path(choice["folder"])
gallery = Gallery.open(
    url, model_id="model-a", embedding_length=16, index=IndexChoice(**choice)
)
print("ready", flush=True)
for line in sys.stdin:
    order, subject, seed = line.split()
    vector = np.random.default_rng(int(seed)).normal(size=16).astype(np.float32)
    if order == "enroll":
        answer = gallery.enroll(subject, vector, silhouettes=None).sample.sample_id
    elif order == "erase":
        answer = gallery.erase_subject(subject).samples
    elif order == "identify":
        answer = [c.subject for c in gallery.identify(vector, limit=3)]
    else:
        answer = gallery.status().in_sync
    print(json.dumps(answer), flush=True)
gallery.close()
"""


class Replica:
    """A process with a gallery of its own."""

    def __init__(self, url: str, choice: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", REPLICA, url, json.dumps(choice)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, order: str, subject: str = "-", seed: int = 0) -> object:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order} {subject} {seed}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def replicas(url, *choices, together=True):
    """Two processes on one database, each with an index as chosen, started together or in turn."""
    both = []
    try:
        for choice in choices:
            both.append(Replica(url, choice))
            if not together:
                both[-1].wait()
        for one in both if together else []:
            one.wait()
        yield both
    finally:
        for one in both:
            one.process.stdin.close()
            one.process.wait(timeout=_SECONDS)
            one.process.stdout.close()


def exchange(first, second):
    """Let two replicas enrol and erase in turns, and see each other at once."""
    for seed, (mine, other) in enumerate([(first, second), (second, first)] * 2):
        subject = f"s{seed}"
        mine.ask("enroll", subject, seed)
        assert other.ask("identify", seed=seed)[0] == subject
        assert mine.ask("identify", seed=seed)[0] == subject
    assert first.ask("erase", "s1") == 1
    assert "s1" not in second.ask("identify", seed=1)
    assert "s1" not in first.ask("identify", seed=1)
    second.ask("enroll", "s1", 1)  # the same walk again is found again
    assert first.ask("identify", seed=1)[0] == "s1"
    assert first.ask("status") is True
    assert second.ask("status") is True


@pytest.mark.milvus
def test_replicas_on_postgres_and_milvus_see_each_other(
    postgres_server: Server, milvus_server: MilvusServer, tmp_path: Path
) -> None:
    choice = {"kind": "milvus", "milvus_url": milvus_server.url, "folder": str(tmp_path)}
    with postgres_server.database() as url:
        # Milvus Lite opens a collection twice where two clients meet while it makes it.
        together = not milvus_server.is_lite
        with replicas(url, choice, choice, together=together) as (first, second):
            exchange(first, second)
            # A replica that died without a word leaves nothing that the other must repair.
            second.process.kill()
            second.process.wait(timeout=_SECONDS)
            first.ask("erase", "s0")
            assert "s0" not in first.ask("identify", seed=0)
        with replicas(url, choice) as (again,):
            assert again.ask("identify", seed=2)[0] == "s2"
            assert "s0" not in again.ask("identify", seed=0)
            assert again.ask("status") is True


@pytest.mark.parametrize("kinds", [("exact", "exact"), ("compact", "exact")])
def test_replicas_on_postgres_with_an_index_each_see_each_other(
    postgres_server: Server, tmp_path: Path, kinds: tuple[str, str]
) -> None:
    choices = [
        {"kind": kind, "folder": str(tmp_path / str(number))} for number, kind in enumerate(kinds)
    ]
    with postgres_server.database() as url, replicas(url, *choices) as (first, second):
        exchange(first, second)


def test_a_start_from_a_snapshot_is_healed_by_the_store(tmp_path):
    choice = IndexChoice(kind="compact", folder=tmp_path / "index")

    def opened(index):
        return Gallery.open(tmp_path, model_id="model-a", embedding_length=LENGTH, index=index)

    vectors = np.random.default_rng(4).normal(size=(12, LENGTH)).astype(np.float32)
    gallery = opened(choice)
    for number, vector in enumerate(vectors[:10]):
        gallery.enroll(f"s{number}", vector, silhouettes=None)
    gallery.close()
    other = opened(None)  # the snapshot does not hear of these two
    other.erase_subject("s3")
    other.enroll("late", vectors[10], silhouettes=None)
    other.close()
    again = opened(choice)
    assert again.status().in_sync
    assert again.identify(vectors[10])[0].subject == "late"
    assert "s3" not in {c.subject for c in again.identify(vectors[3], limit=20)}
    again.close()
    wanted = vectors[3].tobytes()
    assert not any(wanted in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_an_older_store_that_came_back_is_not_answered_from_the_newer_files(tmp_path):
    choice = IndexChoice(kind="compact", folder=tmp_path / "index")
    data = tmp_path / "data"

    def opened():
        return Gallery.open(data, model_id="model-a", embedding_length=LENGTH, index=choice)

    vectors = np.random.default_rng(5).normal(size=(3, LENGTH)).astype(np.float32)
    gallery = opened()
    gallery.enroll("anna", vectors[0], silhouettes=None)
    gallery.close()
    backup = (data / "metagait.db").read_bytes()
    gallery = opened()
    gallery.enroll("ben", vectors[1], silhouettes=None)
    gallery.close()
    (data / "metagait.db").write_bytes(backup)
    other = Gallery.open(data, model_id="model-a", embedding_length=LENGTH)
    other.enroll("carl", vectors[2], silhouettes=None)  # takes the row that was ben's
    other.close()
    gallery = opened()
    nearest = gallery.identify(vectors[2])[0]
    assert (nearest.subject, nearest.distance) == ("carl", 0)
    assert gallery.status().in_sync
    gallery.close()


def test_a_second_service_on_a_folder_is_refused_with_a_sentence(tmp_path):
    settings = Settings(data=tmp_path)
    with (
        only_service(settings),
        pytest.raises(StartError, match=r"the only service on the folder .*METAGAIT_DATABASE"),
        only_service(settings),
    ):
        pass
    with only_service(settings):
        pass
