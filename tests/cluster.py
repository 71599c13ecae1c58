"""A cluster on this machine, and the drill that it has to pass: nothing lost, nothing returned.

    TEST_MILVUS_SERVER=~/milvus/bin/milvus-server python -m tests.cluster
    python -m tests.cluster --milvus lite

Starts PostgreSQL, Milvus, two replicas as `metagait serve` and nginx with docker/nginx.conf, all of
them real, without containers. Enrols at one replica and asks the other; kills a replica under load
(SIGKILL) and starts it again; kills Milvus, which has to be a 503, and starts it again; erases, and
asks both again, before and after Milvus and a replica were killed once more. Prints how long a
search takes, and how long right after somebody was enrolled at the other replica.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from gallery.indexes.newest import KEPT_S
from service.client import Client
from service.errors import RefusedError, UnreachableError
from tests import milvus, postgres
from tests.failover import PREFIX, FailoverError, exchange, kept, under_load, walk
from tests.waiting import free_port, wait_until

ROOT = Path(__file__).parents[1]
# What starts are waited for on a busy machine.
PATIENCE_S = 600


@dataclass
class Process:
    """A program that can be killed without a word and started again."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command, env=os.environ | self.environment, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        """Its number."""
        assert self.running is not None
        return self.running.pid

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, and wait until it has ended."""
        if self.running is not None:
            self.running.send_signal(how)
            self.running.wait(PATIENCE_S)


@dataclass(frozen=True)
class Cluster:
    """What runs, where it answers, and the key that opens it."""

    replicas: tuple[Process, Process]
    urls: tuple[str, str]
    gateway: str
    milvus: milvus.MilvusServer
    key_file: Path

    def client(self, url: str, *, retries: int = 2) -> Client:
        """Call a replica, or both through the gateway."""
        return Client(url, key=self.key_file.read_text(), timeout_s=PATIENCE_S, retries=retries)

    def wait_until_ready(self) -> None:
        """Wait for both replicas."""
        for url in self.urls:
            wait_until(lambda url=url: _is_ready(url), PATIENCE_S)  # type: ignore[misc]


def _is_ready(url: str) -> bool:
    with Client(url) as client:
        try:
            client.ready()
        except (RefusedError, UnreachableError):
            return False
    return True


@contextmanager
def running(
    index: milvus.MilvusServer, folder: Path, model: Path | None = None
) -> Iterator[Cluster]:
    """Start everything, and end it afterwards; `index` is started already."""
    ports = (free_port(), free_port())
    urls = (f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
    key_file, front = folder / "first.key", free_port()
    with ExitStack() as stack:
        server = stack.enter_context(postgres.serving())
        shared = {
            "METAGAIT_DATABASE": stack.enter_context(server.database()),
            "METAGAIT_FIRST_KEY_FILE": str(key_file),
            "METAGAIT_INDEX": "milvus",
            "METAGAIT_MILVUS_URL": index.url,
            "METAGAIT_THREADS": "1",
        }
        replicas = tuple(_replica(folder / f"api-{port}", port, shared) for port in ports)
        for replica, url in zip(replicas, urls, strict=True):
            # One after the other, as Compose does: the first makes the tables and the key.
            replica.start()
            stack.callback(replica.end)
            wait_until(lambda url=url: _is_ready(url), PATIENCE_S)  # type: ignore[misc]
        gateway = _gateway(folder / "nginx", front, ports)
        gateway.start()
        stack.callback(gateway.end, signal.SIGTERM)
        cluster = Cluster(
            (replicas[0], replicas[1]), urls, f"http://127.0.0.1:{front}", index, key_file
        )
        wait_until(lambda: _is_ready(cluster.gateway), PATIENCE_S)
        yield cluster


def _replica(folder: Path, port: int, shared: dict[str, str]) -> Process:
    folder.mkdir()
    command = [sys.executable, "-m", "metagait", "serve", "--port", str(port)]
    return Process(command, {**shared, "METAGAIT_DATA": str(folder)}, folder / "log")


def _gateway(folder: Path, port: int, replicas: Sequence[int]) -> Process:
    """Run nginx with the file that Compose gives it, but for names, ports and folders."""
    folder.mkdir()
    text = (ROOT / "docker/nginx.conf").read_text(encoding="utf-8")
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace("/tmp/", f"{folder}/")
    for number, replica in enumerate(replicas, 1):
        text = text.replace(f"server api-{number}:8000", f"server 127.0.0.1:{replica}")
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    user = "user root; " if os.getuid() == 0 else ""
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    return Process([*command, "-g", f"{user}daemon off;"], {}, folder / "log")


def drill(cluster: Cluster, *, seconds: float, callers: int, probes: int) -> None:
    """Go through all of it; raises FailoverError when something was not so."""
    first, second = (cluster.client(url) for url in cluster.urls)
    with first, second, cluster.client(cluster.gateway) as gateway:
        exchange(first, second)
        print("each replica saw at once what the other enrolled and erased", flush=True)
        _measure(first, second, probes)
        _kill_a_replica(cluster, gateway, seconds, callers)
        there = kept(gateway)
        _kill_milvus(cluster, (first, second))
        _check(there, set(), (first, second), probes)
        erased = set(sorted(there)[::2])
        for one in sorted(erased):
            first.erase_subject(one)
        _check(there - erased, erased, (first, second), probes)
        _kill_milvus(cluster, (first, second))
        cluster.replicas[0].end()
        cluster.replicas[0].start()
        cluster.wait_until_ready()
        _check(there - erased, erased, (first, second), probes)
        print(f"{len(there)} kept and found, {len(erased)} of them erased and gone for good")
        for one in there - erased:
            second.erase_subject(one)


def _measure(first: Client, second: Client, probes: int) -> None:
    """Print what a search costs a replica when another one has enrolled somebody meanwhile."""
    time.sleep(KEPT_S)  # what a replica did not see written it has to ask for that long
    second.identify(walk(1))
    quiet = [second.identify(walk(1)).timings_ms.search for _ in range(probes)]
    after = []
    for number in range(60_000, 60_000 + probes):
        first.enroll(f"{PREFIX}{number}", walk(number))
        after.append(second.identify(walk(1)).timings_ms.search)
    print(
        f"a search takes {median(quiet):.1f} ms, and {median(after):.1f} ms right after the other "
        f"replica enrolled (medians of {probes})"
    )


def _kill_a_replica(cluster: Cluster, gateway: Client, seconds: float, callers: int) -> None:
    victim = cluster.replicas[1]
    key = cluster.key_file.read_text().strip()
    tally = under_load(cluster.gateway, key, callers, seconds, f"kill -9 {victim.pid}")
    victim.end()
    lost = tally.acknowledged - kept(gateway)
    print(
        f"a replica was killed under load: {len(tally.acknowledged)} enrolments acknowledged, "
        f"{len(lost)} lost; not acknowledged: {dict(tally.refused) or 'none'}"
    )
    if lost:
        raise FailoverError(f"expected every acknowledged subject, got none of {sorted(lost)}")
    victim.start()
    cluster.wait_until_ready()


def _kill_milvus(cluster: Cluster, clients: Sequence[Client]) -> None:
    cluster.milvus.kill()
    said = [_refusal(cluster, url) for url in cluster.urls]
    cluster.milvus.start()
    for client in clients:
        wait_until(lambda client=client: _answers(client), PATIENCE_S)  # type: ignore[misc]
    print(f"Milvus was killed: {', '.join(said)}; started again, both replicas answer")
    if set(said) != {"503 index_unavailable"}:
        raise FailoverError(f"expected 503 index_unavailable of both replicas, got {said}")


def _refusal(cluster: Cluster, url: str) -> str:
    with cluster.client(url, retries=0) as client:
        try:
            client.identify(walk(1))
        except RefusedError as error:
            return f"{error.status} {error.code}"
    return "an answer"


def _answers(client: Client) -> bool:
    try:
        client.identify(walk(1))
    except RefusedError:
        return False
    return True


def _check(there: set[str], gone: set[str], clients: Sequence[Client], probes: int) -> None:
    """Ask both replicas for some of those who are there and some who are gone, by their walks."""
    for client in clients:
        if kept(client) != there:
            raise FailoverError(f"expected {len(there)} subjects, got {len(kept(client))}")
        for subject in sorted(there)[:probes]:
            (nearest,) = client.identify(_walk_of(subject), limit=1).candidates
            if nearest.distance > 1e-3:
                raise FailoverError(f"expected {subject} at its own walk, got {nearest}")
        for subject in sorted(gone)[:probes]:
            found = client.identify(_walk_of(subject), limit=100).candidates
            if subject in {one.subject for one in found}:
                raise FailoverError(f"expected {subject} to be gone, got it as a candidate")


def _walk_of(subject: str) -> np.ndarray:
    return walk(int(subject.removeprefix(PREFIX)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--milvus", choices=("real", "lite"), default="real")
    parser.add_argument("--seconds", type=float, default=30, help="of load around the kill")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--probes", type=int, default=10, help="walks of each question")
    arguments = parser.parse_args()
    import pymilvus

    # It tells of every connection that fails while Milvus is away, which is what is asked for.
    logging.getLogger(pymilvus.__name__).setLevel(logging.CRITICAL)
    start = milvus.real if arguments.milvus == "real" else milvus.lite
    with tempfile.TemporaryDirectory(prefix="metagait-cluster-") as folder:
        (data := Path(folder) / "milvus").mkdir()
        index = start(data)
        try:
            index.start()
            with running(index, Path(folder)) as cluster:
                drill(
                    cluster,
                    seconds=arguments.seconds,
                    callers=arguments.callers,
                    probes=arguments.probes,
                )
        except (FailoverError, RefusedError, UnreachableError, milvus.NoMilvusError) as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            index.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
