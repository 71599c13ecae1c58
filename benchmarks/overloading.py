"""More walks than can be encoded: who is let in, how long those wait, and who is sent away."""

import json
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

    answers: Counter[str] = field(default_factory=Counter)
    """By their status, and the code of a problem."""
    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    whole_s: float = 0

    @property
    def offered_rate(self) -> float:
        """Walks a second that were offered."""
        return self.answers.total() / self.whole_s

    @property
    def only_refusals(self) -> bool:
        """Whether nobody was told anything but an answer, or to come back."""
        return all(answer.split()[0] in ("200", "503") for answer in self.answers)

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
    """Return what an overload showed, in sentences.

    Args:
        found: what came back.
        patience_s: seconds within which the service promises to begin with a walk or to refuse it.
        alone_s: seconds that a walk takes which waits for nobody.

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
