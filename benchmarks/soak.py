"""Run mixed load at a share of capacity, with erasures, a rebuild and a restart.

    python benchmarks/soak.py [--minutes 20] [--share 0.9] [--subjects 16]

Keeps a model of what the service should hold: who is enrolled, and with which walk. Every answer is
compared with it: an enrolled person must be found at distance zero by their own walk, and an erased
one must never be named again. After a third of the time, the gallery is rebuilt with another model
file (the shipped weights under another id, so that the answers stay the same) and the service is
restarted with it, under load. The exit status is 1 after a wrong or lost answer, or if memory grows
in the second half.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serving import Connection, Request, Server, as_npy, together

from model.encoder import SHIPPED_MODEL
from model.silhouettes import align
from model.walkers import WalkerSettings, render_walk

CALLERS = 4
CAPACITY_S = 10
FRAMES = 20
FIRST_SUBJECT = 9201
SAME = 0.02
"""Maximum distance between two embeddings of one walk, whatever batches they were in."""
GROWTH = 1.05
# A protobuf field that changes the file, and so the model's id, but no computation.
_ANOTHER_VERSION = b"\x1a\x04soak"


@dataclass
class Person:
    """What the service should hold about one subject; the lock is held during its requests."""

    name: str
    walk: bytes
    enrolled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Soak:
    """The load, the model of who should be enrolled, and what was observed."""

    server: Server
    people: list[Person]
    rate: float
    ends_at: float
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    away: threading.Event = field(default_factory=threading.Event)
    memory: list[tuple[float, float]] = field(default_factory=list)
    pause: Callable[[float], None] = time.sleep
    _next: float = 0
    _pace: threading.Lock = field(default_factory=threading.Lock)

    def call(self, number: int) -> None:
        """Make one random request after another until the end, at the callers' common pace."""
        dice, connection = random.Random(number), Connection(self.server.port)
        while self._wait_for_turn():
            person = dice.choice(self.people)
            with person.lock:
                try:
                    self._do(dice, connection, person)
                except OSError:
                    connection = self._reconnect(person)
        connection.close()

    def _wait_for_turn(self) -> bool:
        with self._pace:
            now = time.monotonic()
            turn = self._next = max(self._next + 1 / self.rate, now)
        if turn >= self.ends_at:
            return False
        time.sleep(max(0.0, turn - now))
        return True

    def _do(self, dice: random.Random, connection: Connection, person: Person) -> None:
        chance = dice.random()
        if not person.enrolled and chance < 0.5:
            self._enroll(connection, person)
        elif person.enrolled and chance < 0.1:
            self._erase(connection, person)
        elif person.enrolled and chance < 0.2:
            self._read(connection, person)
        else:
            self._identify(connection, person)

    def _enroll(self, connection: Connection, person: Person) -> None:
        request = Request.upload("/enroll", person.walk, subject=person.name)
        status, _ = self._ask("enroll", connection, request)
        if status in (200, 201):
            person.enrolled = True
        elif status is not None:
            self._fault(f"enrolling {person.name}: {status}")

    def _erase(self, connection: Connection, person: Person) -> None:
        request = Request("DELETE", f"/subjects/{quote(person.name)}")
        status, _ = self._ask("erase", connection, request)
        if status == 200:
            person.enrolled = False
        elif status is not None:
            self._fault(f"erasing {person.name}: {status}")

    def _read(self, connection: Connection, person: Person) -> None:
        request = Request("GET", f"/subjects/{quote(person.name)}")
        status, body = self._ask("read", connection, request)
        if status is not None and (status != 200 or len(body["samples"]) != 1):
            self._fault(f"reading {person.name}: {status} {body}")

    def _identify(self, connection: Connection, person: Person) -> None:
        request = Request.upload("/identify", person.walk)
        status, body = self._ask("identify", connection, request)
        if status is None:
            return
        if status != 200:
            self._fault(f"identifying {person.name}: {status} {body}")
            return
        nearest = next(iter(body["candidates"]), None)
        named = {one["subject"] for one in body["candidates"]}
        found = nearest and nearest["subject"] == person.name and nearest["distance"] < SAME
        if person.enrolled and not found:
            self._fault(f"{person.name} is enrolled, got {body['candidates'][:2]}")
        if not person.enrolled and person.name in named:
            self._fault(f"{person.name} is erased, got {body['candidates'][:2]}")

    def _ask(
        self, what: str, connection: Connection, request: Request
    ) -> tuple[int | None, dict[str, Any]]:
        """Send a request; the status is None if the service refused it for now, as it may."""
        status, text = connection.send(request)
        body: dict[str, Any] = json.loads(text)
        code = body.get("code", "")
        if status == 503 or (code == "model_mismatch" and self.away.is_set()):
            self.seen[f"refused: {code}"] += 1
            self.pause(1)
            return None, body
        self.seen[what] += 1
        return status, body

    def _reconnect(self, person: Person) -> Connection:
        """Wait for the restarted service, and find out what became of the interrupted request."""
        if not self.away.is_set():
            self._fault("the connection broke although nobody restarts")
        self.seen["not taken, while restarting"] += 1
        while True:
            try:
                connection = Connection(self.server.port)
                status, _ = connection.send(Request("GET", f"/subjects/{quote(person.name)}"))
            except OSError:
                time.sleep(0.5)
                continue
            if status in (200, 404):
                # It was not acknowledged, so both are right; from here on it must not change.
                person.enrolled = status == 200
                return connection
            time.sleep(0.5)

    def _fault(self, words: str) -> None:
        self.wrong.append(words)
        print(f"WRONG: {words}", file=sys.stderr, flush=True)

    def watch_memory(self, stop: threading.Event) -> None:
        """Record the service's memory once a second."""
        while not stop.wait(1):
            if not self.away.is_set():
                try:
                    self.memory.append((time.monotonic(), self.server.memory_mib()))
                except (OSError, ValueError):
                    continue

    def rebuild_and_restart(self, model: Path) -> None:
        """Rebuild next to the running service, then restart it with the new model."""
        data = str(self.server.data)
        command = [sys.executable, "-m", "metagait", "rebuild", "--data", data]
        self.away.set()
        subprocess.run([*command, "--model", str(model)], check=True, stdout=subprocess.DEVNULL)
        status = self.server.stop()
        if status != 0:
            self._fault(f"expected status 0 at SIGTERM, got {status}")
        self.server.environment = {**self.server.environment, "METAGAIT_MODEL": str(model)}
        self.server.start()
        # Callers still waiting for the old process reach the new one within this time.
        threading.Timer(10, self.away.clear).start()

    def check_the_whole(self) -> None:
        """Compare the service's list of subjects with the model."""
        status, body = Connection(self.server.port).send(Request("GET", "/subjects?limit=500"))
        kept = {one["subject"] for one in json.loads(body)["subjects"]}
        expected = {person.name for person in self.people if person.enrolled}
        if status != 200 or kept != expected:
            self._fault(f"expected {sorted(expected)}, got {sorted(kept)}")


def capacity(server: Server, people: list[Person]) -> float:
    """Measure identifications per second, with all callers sending one after the other."""
    done, started = Counter[int](), time.monotonic()

    def call(number: int) -> None:
        connection = Connection(server.port)
        while time.monotonic() - started < CAPACITY_S:
            connection.send(Request.upload("/identify", people[number].walk))
            done[number] += 1
        connection.close()

    together(CALLERS, call)
    return sum(done.values()) / (time.monotonic() - started)


def grown(memory: list[tuple[float, float]], since: float) -> tuple[float, float]:
    """Return the median memory at the start and at the end of the time since then, in MiB."""
    later = [mib for at, mib in memory if at >= since]
    quarter = max(1, len(later) // 4)
    return statistics.median(later[:quarter]), statistics.median(later[-quarter:])


def by_minute(memory: list[tuple[float, float]]) -> list[float]:
    """Return the median memory of each minute that was observed, in MiB."""
    return [
        statistics.median(mib for _, mib in minute)
        for _, minute in groupby(memory, lambda seen: int(seen[0] - memory[0][0]) // 60)
    ]


def soak(server: Server, people: list[Person], minutes: float, share: float) -> Soak:
    """Run the load with all events in between."""
    rate = share * capacity(server, people)
    begun = time.monotonic()
    made = Soak(server, people, rate, begun + 60 * minutes)
    stop = threading.Event()
    watch = threading.Thread(target=made.watch_memory, args=(stop,))
    model = server.data.parent / "another.onnx"
    model.write_bytes(SHIPPED_MODEL.read_bytes() + _ANOTHER_VERSION)
    change = threading.Timer(60 * minutes / 3, made.rebuild_and_restart, (model,))
    watch.start()
    change.start()
    together(CALLERS, made.call)
    change.join()
    stop.set()
    watch.join()
    made.check_the_whole()
    return made


def report(made: Soak, minutes: float) -> bool:
    """Print what was observed; return whether all of it was right."""
    for what, count in sorted(made.seen.items()):
        print(f"{count:6d} {what}")
    before, after = grown(made.memory, made.ends_at - 60 * minutes / 2)
    print("MiB by the minute:", *(f"{mib:.0f}" for mib in by_minute(made.memory)))
    print(
        f"{made.rate:.2f} requests/s offered, {minutes:g} minutes, {len(made.wrong)} wrong answers"
    )
    print(f"memory in the second half: {before:.0f} MiB at its begin, {after:.0f} MiB at its end")
    return not made.wrong and after <= GROWTH * before


def main() -> int:
    """Run the soak test; return 0 if every answer was right and memory stayed flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--share", type=float, default=0.9, help="of the measured capacity")
    parser.add_argument("--subjects", type=int, default=16)
    arguments = parser.parse_args()
    settings = WalkerSettings(frames=FRAMES)
    people = [
        Person(f"p-{number}", as_npy(align(render_walk(number, "nm-01", 72, settings)).silhouettes))
        for number in range(FIRST_SUBJECT, FIRST_SUBJECT + arguments.subjects)
    ]
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data", {"METAGAIT_PROVIDER": "cpu"})
        server.data.mkdir()
        server.start()
        try:
            made = soak(server, people, arguments.minutes, arguments.share)
        finally:
            server.stop()
    return 0 if report(made, arguments.minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
