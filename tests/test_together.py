"""Several walks on the way at once: in order, as patient as one, and ended without loss."""

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from gallery import Gallery
from service.commands.together import Together
from tests.fakes import FakeEncoder, walker, zipped_walk
from tests.waiting import wait_until

PATIENCE_S = 60
# What a shell without job control starts in the background ignores Ctrl-C, its children too.
HEARING_CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from metagait import main
sys.exit(main(sys.argv[1:]))
"""


def test_so_many_are_on_the_way_and_results_keep_the_order() -> None:
    meeting, done = threading.Barrier(3), [threading.Event() for _ in range(6)]

    def work(item: int) -> int:
        meeting.wait(PATIENCE_S)  # passes three, or nobody
        if item % 3 < 2:
            assert done[item + 1].wait(PATIENCE_S)  # the last of three ends first
        done[item].set()
        return item

    assert list(Together(3).each(work, range(6))) == list(range(6))


def test_who_has_to_come_back_finds_a_place_that_no_other_of_ours_took() -> None:
    together, place = Together(8), threading.Lock()
    refusals = []

    def work(item: int) -> str:
        for _attempt in range(3):
            if place.acquire(blocking=False):
                time.sleep(0.01)  # what a walk takes
                place.release()
                return "enrolled"
            refusals.append(item)
            together.wait(0.05)
        return "refused"

    assert list(together.each(work, range(16))) == ["enrolled"] * 16
    assert refusals, "there was room for all of them"


def test_whoever_ends_it_waits_for_no_pause_and_nothing_else_begins() -> None:
    together, began = Together(2), []

    def work(item: int) -> int:
        began.append(item)
        if item == 0:
            wait_until(together._going.locked, PATIENCE_S)
        else:
            together.wait(10 * PATIENCE_S)
        return item

    results = together.each(work, range(9))
    assert next(results) == 0
    results.close()
    assert began == [0, 1]


def test_ctrl_c_loses_and_doubles_no_enrolment(
    url: str, gallery: Gallery, encoder: FakeEncoder, tmp_path: Path
) -> None:
    for number in range(40):
        (tmp_path / "walks" / f"p{number}").mkdir(parents=True)
        file = tmp_path / "walks" / f"p{number}" / "walk.zip"
        file.write_bytes(zipped_walk(walker(8 + number % 20, 15 + number // 20)))
    encoder.free.clear()
    command = [sys.executable, "-c", HEARING_CTRL_C, "enroll", str(tmp_path / "walks")]
    with subprocess.Popen(
        [*command, "--url", url, "--at-once", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as running:  # fmt: skip
        assert encoder.entered.wait(PATIENCE_S)
        running.send_signal(signal.SIGINT)
        time.sleep(0.2)  # so that it is heard before there is room for more
        encoder.free.set()
        printed, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130
    kept = gallery.status().samples
    assert 1 <= kept < 40
    assert printed.strip() == f"{kept} enrolled"


def in_work(url: str) -> float:
    """How many walks the service has taken and not answered yet."""
    figures = httpx.get(f"{url}/metrics").text
    found = re.search(r"^metagait_walks_in_work (\S+)$", figures, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_walks_are_identified_at_once_and_told_in_their_order(
    url: str, encoder: FakeEncoder, tmp_path: Path
) -> None:
    for number in range(6):
        file = tmp_path / "walks" / f"p{number}" / "walk.zip"
        file.parent.mkdir(parents=True)
        file.write_bytes(zipped_walk(walker(8 + number)) if number != 2 else b"no zip")
    command = [sys.executable, "-m", "metagait", "identify", str(tmp_path / "walks")]
    encoder.free.clear()
    with subprocess.Popen(
        [*command, "--url", url, "--at-once", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        wait_until(lambda: in_work(url) == 3, PATIENCE_S)
        encoder.free.set()
        printed, told = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1
    lines = [line.partition(":")[0] for line in printed.splitlines()]
    assert lines == [f"p{number}/walk.zip" for number in (0, 1, 3, 4, 5)] + [
        *("decisions all", "rank-1 all")
    ]
    # No bar, since nobody watches.
    assert told.startswith("p2/walk.zip: the service refused (4")
    assert len(told.splitlines()) == 1
