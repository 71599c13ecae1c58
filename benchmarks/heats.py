"""Lets contestants and kernels take turns, round after round, and records their times."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from ceilings import Kernel
from contestants import Contestant, Walk


@dataclass
class Heat:
    """Contestants and kernels on a number of threads, with the seconds of each in each round."""

    threads: int
    contestants: list[Contestant]
    kernels: list[Kernel]
    walks: dict[int, Walk]
    batch: int
    seconds: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    ceilings: dict[str, list[float]] = field(default_factory=dict)
    convolutions: list[list[str]] = field(default_factory=list)
    """Rows of `benchmarks/convolutions.py`."""

    def run(self, rounds: int, clock: Callable[[], float]) -> None:
        """Let all of them take turns; the first round is a warm-up."""
        with ThreadPoolExecutor(max(c.callers for c in self.contestants)) as callers:
            for number in range(rounds + 1):
                rates = self._rates(clock)
                took = dict(self._times(callers, clock))
                if number:
                    for precision, rate in rates.items():
                        self.ceilings.setdefault(precision, []).append(rate)
                    for what, seconds in took.items():
                        self.seconds.setdefault(what, []).append(seconds)

    def rate(self, contestant: Contestant, frames: int) -> float:
        """Return the walks per second, the median over the rounds."""
        return contestant.callers * self.batch / median(self.seconds[key(contestant), frames])

    def ratio(self, contestant: Contestant, to: str, frames: int) -> float:
        """Return the ratio of its walks per second to another's, the median over the rounds."""
        mine, other = (self.seconds[name, frames] for name in (key(contestant), f"{to}, float32"))
        return median(contestant.callers * b / a for a, b in zip(mine, other, strict=True))

    def of_ceiling(self, contestant: Contestant, flop: float, frames: int) -> float | None:
        """Return its share of its precision's ceiling, the median over rounds; None without one."""
        if contestant.precision not in self.ceilings:
            return None
        work = contestant.callers * self.batch * flop
        took, rates = self.seconds[key(contestant), frames], self.ceilings[contestant.precision]
        return median(work / s / rate for s, rate in zip(took, rates, strict=True))

    def _rates(self, clock: Callable[[], float]) -> dict[str, float]:
        """Return the operations per second of the fastest kernel of each precision."""
        rates: dict[str, float] = {}
        for kernel in self.kernels:
            rate = kernel.flop / seconds_of(kernel.run, clock)
            rates[kernel.precision] = max(rate, rates.get(kernel.precision, 0))
        return rates

    def _times(
        self, callers: ThreadPoolExecutor, clock: Callable[[], float]
    ) -> Iterator[tuple[tuple[str, int], float]]:
        for contestant in self.contestants:
            for frames, walk in self.walks.items():
                calls = partial(self._calls, callers, contestant, walk)
                yield (key(contestant), frames), seconds_of(calls, clock)

    def _calls(self, callers: ThreadPoolExecutor, contestant: Contestant, walk: Walk) -> None:
        walks = [walk] * self.batch
        if contestant.callers == 1:
            contestant.encode(walks)
        else:
            list(callers.map(contestant.encode, [walks] * contestant.callers))


def key(contestant: Contestant) -> str:
    """Return name and precision, which together are unique in a heat."""
    return f"{contestant.name}, {contestant.precision}"


def seconds_of(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Time one call to its end, also on a GPU, since the embedding is copied back to the CPU."""
    started = clock()
    work()
    return clock() - started
