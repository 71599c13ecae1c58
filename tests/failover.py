"""Two replicas that run: each sees what the other did, and the death of one loses nothing.

    python -m tests.failover --replicas URL URL --gateway URL --key-file FILE --stop "COMMAND"

Enrols at one replica and asks the other, erases at the other and asks both. Then callers enrol
through the gateway while COMMAND stops a replica, by SIGTERM or by SIGKILL: every enrolment that
was answered with success must be there afterwards. Ends with status 1 when something was not so.
docs/deploy.md says how to run it.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.client import Client
from service.errors import RefusedError, ServiceError, UnreachableError

SAMPLES = Path(__file__).parents[1] / "service" / "web" / "samples"
PREFIX = "failover-"


class FailoverError(Exception):
    """A replica did not see what the other did, or lost what was acknowledged."""


@dataclass
class Tally:
    """What callers were told."""

    acknowledged: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)


def walk(number: int) -> np.ndarray:
    """Return a walk that no other number has: begun elsewhere, with a few pixels changed."""
    with np.load(SAMPLES / "ada-nm-01.npz", allow_pickle=False) as archive:
        (name,) = archive.files
        frames = archive[name][:20].copy()
    rolled: np.ndarray = np.roll(frames, number % len(frames), axis=0)
    body = np.argwhere(rolled[0])
    for bit in range(16):
        if number >> bit & 1:
            rolled[0][tuple(body[bit])] = 0
    return rolled


def exchange(first: Client, second: Client) -> None:
    """Enrol at each replica in turn, find it at the other, erase it there, and miss it at both."""
    for number, (mine, other) in enumerate([(first, second), (second, first)]):
        subject = f"{PREFIX}exchange-{number}"
        mine.enroll(subject, walk(number))
        if subject not in _found(other, number):
            raise FailoverError(f"expected {subject} at the other replica, got no such candidate")
        if (erased := other.erase_subject(subject)).samples != 1:
            raise FailoverError(f"expected 1 sample to erase, got {erased.samples}")
        if any(subject in _found(one, number) for one in (mine, other)):
            raise FailoverError(f"expected {subject} gone at both replicas, got it as a candidate")


def _found(client: Client, number: int) -> set[str]:
    return {one.subject for one in client.identify(walk(number), limit=50).candidates}


def enroll_until(
    over: threading.Event, gateway: str, key: str | None, caller: int, tally: Tally
) -> None:
    """Enrol one subject after another, none twice, and note how each ended."""
    with Client(gateway, key=key, retries=0) as client:
        number = caller * 1000
        while not over.is_set():
            number += 1
            try:
                client.enroll(f"{PREFIX}{number}", walk(number))
                tally.acknowledged.add(f"{PREFIX}{number}")
            except RefusedError as error:
                tally.refused[f"{error.status} {error.code}"] += 1
                time.sleep(0.2)
            except UnreachableError:
                tally.refused["no answer"] += 1


def under_load(gateway: str, key: str | None, callers: int, seconds: float, stop: str) -> Tally:
    """Stop a replica in the middle of the load, and return what callers were told."""
    tally, over = Tally(), threading.Event()
    threads = [
        threading.Thread(target=enroll_until, args=(over, gateway, key, caller, tally))
        for caller in range(callers)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    before = len(tally.acknowledged)
    subprocess.run(stop, shell=True, check=True, stdout=subprocess.DEVNULL)
    time.sleep(seconds / 2)
    over.set()
    for thread in threads:
        thread.join()
    if not 0 < before < len(tally.acknowledged):
        raise FailoverError(f"expected success before and after the stop, got {before} before it")
    return tally


def kept(client: Client) -> set[str]:
    """Every subject of a drill that the service lists."""
    found: set[str] = set()
    after: str | None = None
    while True:
        page = client.subjects(limit=200, after=after)
        found |= {one.subject for one in page.subjects if one.subject.startswith(PREFIX)}
        if (after := page.next) is None:
            return found


def drill(arguments: argparse.Namespace) -> None:
    """Run both parts, clean up, and raise FailoverError when something was not so."""
    key = arguments.key_file.read_text(encoding="utf-8").strip()
    first, second = (Client(url, key=key) for url in arguments.replicas)
    with first, second, Client(arguments.gateway, key=key) as gateway:
        exchange(first, second)
        print("each replica saw at once what the other enrolled and erased")
        tally = under_load(
            arguments.gateway, key, arguments.callers, arguments.seconds, arguments.stop
        )
        listed = kept(gateway)
        lost = tally.acknowledged - listed
        print(
            f"{len(tally.acknowledged)} enrolments acknowledged, {len(lost)} lost; "
            f"not acknowledged: {dict(tally.refused) or 'none'}"
        )
        for subject in listed:
            gateway.erase_subject(subject)
    if lost:
        raise FailoverError(f"expected every acknowledged subject, got none of {sorted(lost)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", nargs=2, required=True, metavar="URL")
    parser.add_argument("--gateway", required=True, metavar="URL")
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--stop", required=True, help="shell command that stops one replica")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20)
    try:
        drill(parser.parse_args())
    except (FailoverError, ServiceError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
