"""Stops a training between two iterations, so that it leaves a checkpoint behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turn SIGTERM and Ctrl-C into an event that is checked between iterations.

    A second signal has its usual effect. Outside the main thread nothing is changed, since only the
    main thread may set signal handlers.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(number, former[signal.Signals(number)])

    for number in former:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
