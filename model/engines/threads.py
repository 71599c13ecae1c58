"""How many processors there are for this process, and how calls share them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["latency", "throughput"]


@dataclass(frozen=True)
class Threads:
    """Threads of one call, and calls at a time."""

    of_a_call: int
    callers: int

    @classmethod
    def shared(cls, mode: Mode, threads: int | None) -> "Threads":
        """Share `threads` (by default every processor) as the mode says.

        latency: all of them work on one call. throughput: each works on a call of its own, which
        costs nothing for splitting and joining; it pays as soon as that many callers come.
        """
        total = threads or available_cpus()
        return cls(total, 1) if mode == "latency" else cls(1, total)


def available_cpus() -> int:
    """CPUs this process may use: its affinity, and less where a cgroup quota says so."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))
