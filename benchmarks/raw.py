"""Timings, and the encoder without a service, which the served path is compared with."""

import statistics
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from serving import together

from model.encoder import Encoder


@dataclass
class Timed:
    """Seconds for each walk, and for all together."""

    each: list[float] = field(default_factory=list)
    whole: float = 0
    processor: float = 0
    """Processor seconds, which are not affected by other programs on the machine."""

    @property
    def rate(self) -> float:
        """Return the walks per second."""
        return len(self.each) / self.whole

    @property
    def median(self) -> float:
        """Return the median seconds per walk."""
        return statistics.median(self.each)

    @property
    def cost(self) -> float:
        """Return the processor seconds per walk."""
        return self.processor / len(self.each)


@dataclass(frozen=True)
class Raw:
    """The encoder without a service."""

    encoder: Encoder
    walk: NDArray[np.uint8]
    batch: int

    def one_by_one(self, seconds: float) -> Timed:
        """Embed single walks."""
        return self._encode(seconds, 1, 1)

    def as_served(self, seconds: float) -> Timed:
        """Embed with the call size, and as many concurrent calls, as suit the engine best."""
        return self._encode(seconds, self.batch, self.encoder.runtime.callers)

    def _encode(self, seconds: float, count: int, calls: int) -> Timed:
        timed, started, spent = Timed(), time.perf_counter(), time.process_time()

        def call(_number: int) -> None:
            while time.perf_counter() - started < seconds:
                before = time.perf_counter()
                self.encoder.encode([self.walk] * count)
                timed.each.extend([(time.perf_counter() - before) / count] * count)

        together(calls, call)
        timed.whole = time.perf_counter() - started
        timed.processor = time.process_time() - spent
        return timed
