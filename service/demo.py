"""`python -m service.demo`: a demonstration from walkers to answers, in a minute or two.

Makes synthetic walkers that training never saw, and starts the service on a free port with an empty
gallery in a temporary folder. Enrols ten of them, sends other walks of theirs (same side, other
sides, with a bag, in a coat) and of strangers, prints the answers, and stops. Exits with 1 if the
results miss a bar.
"""

import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.client import Client
from service.errors import ClientError, ServiceError, StartError
from service.schemas import Identified

SUBJECTS = tuple(range(9001, 9011))
STRANGERS = tuple(range(9011, 9016))
ENROLLED_CONDITIONS = ("nm-01", "nm-02", "nm-03", "nm-04")
ENROLLED_VIEWS = (36, 90, 144)
PROBE_CONDITIONS = ("nm-05", "bg-01", "cl-01")
PROBE_VIEWS = (90, 54, 108)
FRAMES = 30
SEED = 0

CLOTHES = {"nm": "as enrolled", "bg": "with a bag", "cl": "in a coat"}
# How often, in per cent, the nearest subject must be right, or a stranger not be named.
BARS = {
    "as enrolled, new side": 80.0,
    "with a bag, new side": 70.0,
    "in a coat, new side": 50.0,
    "strangers": 80.0,
}
_START_S = 60
_STOP_S = 30


@dataclass(frozen=True)
class Probe:
    """One walk that was sent, and its answer."""

    subject: int
    condition: str
    view: int
    answer: Identified

    @property
    def nearest(self) -> str:
        """Return the nearest subject, match or not."""
        return self.answer.candidates[0].subject

    @property
    def named(self) -> str | None:
        """Return who the service says it is; None if it names nobody."""
        return self.nearest if self.answer.decision == "match" else None

    @property
    def is_stranger(self) -> bool:
        """Tell whether the walker was never enrolled."""
        return self.subject in STRANGERS

    @property
    def kind(self) -> str:
        """Return in words what is hard about the walk."""
        if self.is_stranger:
            return "strangers"
        side = "same side" if self.view in ENROLLED_VIEWS else "new side"
        return f"{CLOTHES[self.condition.split('-')[0]]}, {side}"

    @property
    def is_right(self) -> bool:
        """Tell whether the nearest is right, match or not; for a stranger, if nobody is named."""
        return self.named is None if self.is_stranger else self.nearest == str(self.subject)


def main() -> int:
    """Run the demonstration; returns 0 if it reaches every bar, else 1."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="metagait-demo-") as temporary:
        folder = Path(temporary)
        print(f"1. {len(SUBJECTS) + len(STRANGERS)} synthetic people learn to walk")
        _make_walkers(folder)
        print("2. the service starts with an empty gallery")
        with _service(folder) as url, Client(url) as client:
            print(f"   {client.info().model.model_id} on {client.info().provider} at {url}")
            _enroll(client, folder / "enrolled")
            probes = _identify(client, folder / "probes")
    print_table(probes)
    passed = print_summary(probes)
    print(f"{'passed' if passed else 'BELOW THE BAR'} in {time.perf_counter() - started:.0f} s")
    return 0 if passed else 1


def _make_walkers(folder: Path) -> None:
    both = (*SUBJECTS, *STRANGERS)
    _walkers(folder / "enrolled", SUBJECTS, ENROLLED_CONDITIONS, ENROLLED_VIEWS)
    _walkers(folder / "probes", both, PROBE_CONDITIONS, PROBE_VIEWS)


def _walkers(
    output: Path, subjects: Sequence[int], conditions: Sequence[str], views: Sequence[int]
) -> None:
    """Make walkers with the public command, as a user would."""
    subprocess.run(  # noqa: S603 -- the command is this project's own
        _metagait(
            *("walkers", "--output", str(output)),
            *("--subjects", f"{subjects[0]}:{subjects[-1]}"),
            *("--conditions", *conditions),
            *("--views", *(str(view) for view in views)),
            *("--frames", str(FRAMES), "--seed", str(SEED), "--workers", "2"),
        ),
        check=True,
    )


def _metagait(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "metagait", *arguments]


@contextmanager
def _service(folder: Path) -> Iterator[str]:
    """Run the service in its own process, stopped as an operator would; yields its URL."""
    port, log = _free_port(), folder / "service.log"
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--data", str(folder / "data"))
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 -- the command is this project's own
            _metagait("serve", *arguments), stderr=output
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url, log)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=_STOP_S)
    if process.returncode != 0:
        raise StartError(
            f"expected the service to stop with 0, got {process.returncode}:\n{log.read_text()}"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    with Client(url, timeout_s=5) as client:
        while not _answers(client.ready):
            if process.poll() is not None:
                raise StartError(f"the service did not start:\n{log.read_text()}")
            if time.monotonic() > deadline:
                raise StartError(f"expected a ready service within {_START_S} s, got none")
            time.sleep(0.2)


def _answers(question: Callable[[], object]) -> bool:
    try:
        question()
    except ClientError:
        return False
    return True


def _enroll(client: Client, root: Path) -> None:
    started, count = time.perf_counter(), 0
    for subject in SUBJECTS:
        for condition in ENROLLED_CONDITIONS:
            for view in ENROLLED_VIEWS:
                walk = root / str(subject) / condition / f"{view:03d}"
                client.enroll(str(subject), walk, metadata={"condition": condition, "view": view})
                count += 1
    print(
        f"3. {len(SUBJECTS)} people enrolled by {count} walks (views {_degrees(ENROLLED_VIEWS)}) "
        f"in {time.perf_counter() - started:.0f} s"
    )


def _identify(client: Client, root: Path) -> list[Probe]:
    print(
        f"4. who is walking? (views {_degrees(PROBE_VIEWS)}, bags, coats, "
        f"and {len(STRANGERS)} strangers)\n"
    )
    return [
        Probe(
            subject,
            condition,
            view,
            client.identify(root / str(subject) / condition / f"{view:03d}"),
        )
        for subject in (*SUBJECTS, *STRANGERS)
        for condition in PROBE_CONDITIONS
        for view in PROBE_VIEWS
    ]


def _degrees(views: Sequence[int]) -> str:
    return ", ".join(f"{view}°" for view in views)


def print_table(probes: Sequence[Probe]) -> None:
    """Print one line for each walk."""
    print(f"{'who':<10}{'walk':<8}{'view':>5}   {'nearest':<9}{'distance':>9}   {'answer':<14}")
    for probe in probes:
        who = "stranger" if probe.is_stranger else str(probe.subject)
        said = probe.named or probe.answer.decision.replace("_", " ")
        distance = probe.answer.candidates[0].distance
        print(
            f"{who:<10}{probe.condition:<8}{probe.view:>4}°   {probe.nearest:<9}{distance:>9.3f}"
            f"   {said:<14}{_verdict(probe)}"
        )


def _verdict(probe: Probe) -> str:
    """Return the verdict: was the nearest right, or, for a stranger, was somebody named."""
    if probe.is_stranger:
        return "not named" if probe.is_right else "NAMED"
    return "nearest is right" if probe.is_right else "nearest is WRONG"


def print_summary(probes: Sequence[Probe]) -> bool:
    """Print a summary of each kind of walk; returns True if every bar is reached."""
    limits = probes[0].answer.threshold
    if limits:
        print(f"\nmatch up to {limits.distance:.3f}, unsure up to {limits.inconclusive_to:.3f}")
    kinds: dict[str, list[Probe]] = defaultdict(list)
    for probe in probes:
        kinds[probe.kind].append(probe)
    print(f"\n{'':<26}walks    match  inconclusive  no match    right")
    # A list, so that every line is printed, also after one that is below its bar.
    reached = [_print_kind(kind, some) for kind, some in kinds.items()]
    return all(reached)


def _print_kind(kind: str, probes: Sequence[Probe]) -> bool:
    answers = [probe.answer.decision for probe in probes]
    match, unsure = answers.count("match"), answers.count("inconclusive")
    none = answers.count("no_match")
    share, bar = 100 * sum(probe.is_right for probe in probes) / len(probes), BARS.get(kind)
    print(
        f"{kind:<26}{len(probes):>5}{match:>9}{unsure:>14}{none:>10}{share:>7.1f} %"
        + ("" if bar is None else f"   (bar {bar:.0f} %)")
    )
    return bar is None or share >= bar


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServiceError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(2)
