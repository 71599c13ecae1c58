"""The way out, with a real process under load: unready, grace, every accepted request answered."""

import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from service.client import Client
from service.errors import RefusedError, UnreachableError
from tests.fakes import npy, walker
from tests.processes import server_process, wait_until_ready
from tests.waiting import wait_until

CALLERS = 4
SHORT_WAY_OUT = {"METAGAIT_SHUTDOWN_GRACE_S": "1", "METAGAIT_DRAIN_TIMEOUT_S": "20"}


@dataclass
class Load:
    """Callers that enrol one new subject after the other, and what each was told."""

    url: str
    enrolled: set[str] = field(default_factory=set)
    answers: list[tuple[int, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, caller: int) -> None:
        count = 0
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self.stop.is_set():
                subject = f"{caller}-{count}"
                count += 1
                body = npy(walker(8 + count % 12, 15 + count // 12))
                try:
                    answer = http.post(
                        "/enroll", data={"subject": subject}, files={"sequence": ("walk", body)}
                    )
                except httpx.TransportError:
                    # Nobody listens any more: this request never was accepted.
                    return
                self.answers.append((answer.status_code, answer.headers.get("connection", "")))
                if answer.status_code == 201:
                    self.enrolled.add(subject)

    def start(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self.run, args=(one,)) for one in range(CALLERS)]
        for thread in threads:
            thread.start()
        return threads


def test_no_accepted_request_is_lost_when_the_service_leaves_under_load(tmp_path: Path) -> None:
    with server_process(tmp_path, SHORT_WAY_OUT) as (process, url), Client(url) as client:
        wait_until_ready(client)
        load = Load(url)
        threads = load.start()
        wait_until(lambda: len(load.enrolled) >= 8)
        process.send_signal(signal.SIGTERM)
        assert unready_before_gone(url) == "not_ready"
        assert process.wait(timeout=60) == 0
        load.stop.set()
        for thread in threads:
            thread.join(timeout=60)
    assert {status for status, _ in load.answers} == {201}
    assert load.answers[-1][1] == "close"
    with server_process(tmp_path) as (_, url), Client(url) as client:
        wait_until_ready(client)
        kept = client.subjects(limit=500)
        assert kept.next is None
        assert {one.subject for one in kept.subjects} == load.enrolled


def unready_before_gone(url: str) -> str | None:
    """The code of the refusal that `/readyz` gives before nobody answers."""
    code = None
    with Client(url) as client:
        while True:
            try:
                client.ready()
            except RefusedError as error:
                code = error.code
            except UnreachableError:
                return code
            time.sleep(0.05)


def test_a_second_signal_ends_the_grace(tmp_path: Path) -> None:
    grace = {"METAGAIT_SHUTDOWN_GRACE_S": "300"}
    with server_process(tmp_path, grace) as (process, url), Client(url) as client:
        wait_until_ready(client)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_ready(client))
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_a_fault_in_native_code_says_where_it_was(tmp_path: Path) -> None:
    with server_process(tmp_path, stderr=subprocess.PIPE) as (process, url), Client(url) as client:
        wait_until_ready(client)
        process.send_signal(signal.SIGSEGV)
        _, said = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGSEGV
    assert b"Fatal Python error: Segmentation fault" in said
    assert b"serve.py" in said


def is_ready(client: Client) -> bool:
    try:
        client.ready()
    except RefusedError:
        return False
    return True
