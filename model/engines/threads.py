"""How calls share the CPUs that this process may use."""

from dataclasses import dataclass
from typing import Literal

from model.cpus import available_cpus

Mode = Literal["latency", "throughput"]


@dataclass(frozen=True)
class Threads:
    """Threads per call, and calls at a time."""

    of_a_call: int
    callers: int

    @classmethod
    def shared(cls, mode: Mode, threads: int | None) -> "Threads":
        """Share `threads` (by default every CPU) according to the mode.

        latency: all threads work on one call. throughput: each thread works on its own call, which
        saves splitting and joining, and pays off as soon as there are that many callers.
        """
        total = threads or available_cpus()
        return cls(total, 1) if mode == "latency" else cls(1, total)
