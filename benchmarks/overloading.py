"""Offer a service more walks than it can encode: who is accepted, who refused, and how fast."""

import json
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from serving import Connection, Request, together

CALLERS = 128
"""More than the service has places, so that some callers always find it full."""


@dataclass
class Overload:
    """The answers while more was offered than can be done."""

    answers: Counter[str] = field(default_factory=Counter)
    """Counts by status, with the code of a problem."""
    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    whole_s: float = 0

    @property
    def offered_rate(self) -> float:
        """Return the walks offered per second."""
        return self.answers.total() / self.whole_s

    @property
    def only_refusals(self) -> bool:
        """Tell whether everybody got either an answer or a 503 to try again later."""
        return all(answer.split()[0] in ("200", "503") for answer in self.answers)

    @property
    def accepted_rate(self) -> float:
        """Return the walks answered per second."""
        return len(self.accepted_s) / self.whole_s


def overload(port: int, request: Request, rate: float, seconds: float) -> Overload:
    """Offer `rate` walks per second for a time, whether or not they are answered."""
    found, turns, started = Overload(), count(), time.perf_counter()

    def call(_number: int) -> None:
        connection = Connection(port)
        while (turn := next(turns)) < rate * seconds:
            time.sleep(max(0.0, started + turn / rate - time.perf_counter()))
            before = time.perf_counter()
            status, body = connection.send(request)
            taken = time.perf_counter() - before
            found.answers[_named(status, body)] += 1
            (found.accepted_s if status == 200 else found.refused_s).append(taken)
        connection.close()

    together(CALLERS, call)
    found.whole_s = time.perf_counter() - started
    return found


def _named(status: int, body: bytes) -> str:
    return str(status) if status == 200 else f"{status} {json.loads(body).get('code')}"


def told(found: Overload, patience_s: float, alone_s: float) -> list[str]:
    """Return the results of an overload as sentences.

    Args:
        found: the answers.
        patience_s: seconds within which the service promises to start on a walk or refuse it.
        alone_s: seconds for a walk that does not have to wait.

    """
    counts = ", ".join(f"{number} × {answer}" for answer, number in sorted(found.answers.items()))
    lines = [f"Offered {found.offered_rate:.1f} walks/s: {counts}."]
    if found.accepted_s:
        p50, p99 = (float(np.percentile(found.accepted_s, rank)) for rank in (50, 99))
        promise = patience_s + alone_s
        lines.append(
            f"Accepted: {found.accepted_rate:.1f} walks/s, median {p50:.2f} s, p99 {p99:.2f} s, "
            f"longest {max(found.accepted_s):.2f} s. Promised: {patience_s:g} s of waiting, as was "
            f"set, and {alone_s:.2f} s for the walk alone, {promise:.2f} s together: "
            f"{'kept' if p99 <= promise else 'not kept'}."
        )
    if found.refused_s:
        lines.append(f"Refused: median {statistics.median(found.refused_s) * 1000:.0f} ms.")
    return lines
