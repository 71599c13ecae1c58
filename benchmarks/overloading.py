"""More walks than can be encoded: who is let in, how long those wait, and who is sent away."""

import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from serving import Connection, Request, together

CALLERS = 128
"""More than there are places, so that somebody always comes to a full house."""


@dataclass
class Overload:
    """What came back while more was offered than can be done."""

    statuses: Counter[int] = field(default_factory=Counter)
    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    whole_s: float = 0

    @property
    def offered_rate(self) -> float:
        """Walks a second that were offered."""
        return sum(self.statuses.values()) / self.whole_s

    @property
    def accepted_rate(self) -> float:
        """Walks a second that were answered."""
        return len(self.accepted_s) / self.whole_s


def overload(port: int, request: Request, rate: float, seconds: float) -> Overload:
    """Offer `rate` walks a second for a time, whether or not they are answered."""
    found, turns, started = Overload(), count(), time.perf_counter()

    def call(_number: int) -> None:
        connection = Connection(port)
        while (turn := next(turns)) < rate * seconds:
            time.sleep(max(0.0, started + turn / rate - time.perf_counter()))
            before = time.perf_counter()
            status, _ = connection.send(request)
            taken = time.perf_counter() - before
            found.statuses[status] += 1
            (found.accepted_s if status == 200 else found.refused_s).append(taken)
        connection.close()

    together(CALLERS, call)
    found.whole_s = time.perf_counter() - started
    return found


def told(found: Overload, places: int) -> list[str]:
    """Return what an overload showed, in sentences.

    Who gets the last of `places` waits until all before are done, at the rate at which that happens
    (Little's law): longer waits would mean that somebody was overtaken.
    """
    counts = ", ".join(f"{number} × {status}" for status, number in sorted(found.statuses.items()))
    lines = [f"Overload, {found.offered_rate:.1f} walks/s offered: {counts}."]
    if found.accepted_s:
        p99, bound = float(np.percentile(found.accepted_s, 99)), places / found.accepted_rate
        lines.append(
            f"Accepted: {found.accepted_rate:.1f} walks/s, p99 {p99:.2f} s; "
            f"{places} places at that rate allow {bound:.2f} s."
        )
    if found.refused_s:
        lines.append(f"Refused: median {statistics.median(found.refused_s) * 1000:.0f} ms.")
    return lines
