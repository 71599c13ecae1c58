"""Ctrl-C in a terminal reaches every process of a command, and ends it without a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from model.parallel import mapped

ROOT = Path(__file__).parent.parent
PATIENCE_S = 120
COMMAND = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores Ctrl-C
from model.parallel import mapped
from tests.test_interrupts import double, begin
made = mapped(begin, [Path(name) for name in sys.argv[1:]], workers=3)
try:
    next(made)
except KeyboardInterrupt:
    made.close()
    sys.exit(130)
"""


def double(number: int) -> int:
    return 2 * number


def begin(begun: Path) -> None:
    """Never end, except for the last, whose process is idle then."""
    begun.touch()
    while begun.name != "2":
        time.sleep(PATIENCE_S)


def test_results_come_in_order_from_several_processes() -> None:
    assert list(mapped(double, range(9), workers=2)) == [double(number) for number in range(9)]


def test_ctrl_c_ends_processes_at_work_and_idle_ones_at_once_and_in_silence(tmp_path: Path) -> None:
    begun = [tmp_path / str(number) for number in range(3)]
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, begun)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as running:  # fmt: skip
        while not all(path.exists() for path in begun):
            assert running.poll() is None
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        _, told = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, told) == (130, "")
