"""The served path against the raw encoder, in one run on one machine.

    python benchmarks/serve.py [--seconds 5] [--rounds 3] [--frames 30] [--callers 1 4 16 64]
                               [--engine onnxruntime] [--mode latency] [--threads N]

Starts `metagait serve` on a free loopback port. Every served round follows a raw one, in which the
same engine in the same mode with the same threads embeds the same walk without any service, so that
the ratios hold on a machine whose speed changes; the table shows the median ratio of the rounds.
Raw throughput is that of full batches, by as many calls at a time as the engine gains from; raw
latency that of single walks. Then twice the served throughput is offered:
nothing but 200 and 503 may come back (else status 1), and what is accepted must be done in the time
that the places allow.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from serving import (
    Connection,
    Request,
    Server,
    as_npy,
    as_zip,
    identify,
    serving,
    shipped_walk,
    together,
)

from model.encoder import Encoder, available_cpus, open_encoder
from model.silhouettes import align
from service.packed import pack
from service.settings import Settings

CALLERS = (1, 4, 16, 64)
MOST_CALLERS = 256
_WARM_UP = 3


@dataclass
class Timed:
    """Seconds that each walk took, and all together."""

    each: list[float] = field(default_factory=list)
    whole: float = 0
    processor: float = 0
    """Processor seconds, which other programs on the machine do not lengthen."""

    @property
    def rate(self) -> float:
        """Walks a second."""
        return len(self.each) / self.whole

    @property
    def median(self) -> float:
        """Median seconds of a walk."""
        return statistics.median(self.each)

    @property
    def cost(self) -> float:
        """Processor seconds of a walk."""
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

    def in_batches(self, seconds: float) -> Timed:
        """Embed full batches, by as many calls at a time as the encoder gains from."""
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


def served(server: Server, request: Request, callers: int, seconds: float) -> Timed:
    """Let so many callers ask again and again, each as soon as it is answered."""
    timed, started, spent = Timed(), time.perf_counter(), server.processor_s()

    def call(_number: int) -> None:
        connection = Connection(server.port)
        while time.perf_counter() - started < seconds:
            before = time.perf_counter()
            status, body = connection.send(request)
            if status != 200:
                raise RuntimeError(f"expected 200, got {status}: {body[:200]!r}")
            timed.each.append(time.perf_counter() - before)
        connection.close()

    together(callers, call)
    timed.whole = time.perf_counter() - started
    timed.processor = server.processor_s() - spent
    return timed


@dataclass(frozen=True)
class Plan:
    """How long, how often, and by how many callers at once."""

    seconds: float
    rounds: int
    callers: Sequence[int]


def table(
    server: Server, raw: Raw, bodies: Mapping[str, bytes], plan: Plan
) -> tuple[list[str], float]:
    """Return the markdown table, and the best served rate."""
    lines = [
        "| body | bytes | callers | walks/s | × raw | median ms | × raw | processor ms | × raw |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    best = 0.0
    for name, body in bodies.items():
        request = identify(body)
        for callers in plan.callers:
            rates, latencies, costs, last = [], [], [], Timed()
            for _ in range(plan.rounds):
                single, batches = raw.one_by_one(plan.seconds), raw.in_batches(plan.seconds)
                last = served(server, request, callers, plan.seconds)
                rates.append(last.rate / batches.rate)
                latencies.append(last.median / single.median)
                costs.append(last.cost / batches.cost)
                best = max(best, last.rate)
            figures = (
                f"{last.rate:.1f} | {statistics.median(rates):.2f} | {last.median * 1000:.0f} | "
                f"{statistics.median(latencies):.2f} | {last.cost * 1000:.0f} | "
                f"{statistics.median(costs):.2f}"
            )
            lines.append(f"| {name} | {len(body):,} | {callers} | {figures} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return lines, best


@dataclass
class Overload:
    """What came back while more was offered than can be done."""

    offered_rate: float
    statuses: Counter[int] = field(default_factory=Counter)
    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)


def overload(server: Server, request: Request, rate: float, seconds: float) -> Overload:
    """Offer `rate` walks a second whether or not they are answered, for a bounded time."""
    found, slots = Overload(rate), threading.Semaphore(MOST_CALLERS)
    threads = []

    def call() -> None:
        before = time.perf_counter()
        connection = Connection(server.port)
        status, _ = connection.send(request)
        connection.close()
        taken = time.perf_counter() - before
        found.statuses[status] += 1
        (found.accepted_s if status == 200 else found.refused_s).append(taken)
        slots.release()

    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        slots.acquire()
        threads.append(threading.Thread(target=call))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return found


def told(found: Overload, bound_s: float) -> list[str]:
    """Return what an overload showed, in sentences."""
    counts = ", ".join(f"{count} × {status}" for status, count in sorted(found.statuses.items()))
    lines = [f"Overload, {found.offered_rate:.1f} walks/s offered: {counts}."]
    if found.accepted_s:
        p99 = float(np.percentile(found.accepted_s, 99))
        lines.append(f"Accepted: p99 {p99:.2f} s; the places allow {bound_s:.2f} s.")
    if found.refused_s:
        lines.append(f"Refused: median {statistics.median(found.refused_s) * 1000:.0f} ms.")
    return lines


def bodies_of(walk: NDArray[np.uint8]) -> dict[str, bytes]:
    """Return the walk in each form that a body may have."""
    return {"zip of PNG": as_zip(walk), "npy": as_npy(walk), "packed": pack(walk)}


def main() -> int:
    """Print the table; 1 when an overload brought anything but 200 and 503."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--callers", type=int, nargs="+", default=CALLERS, help="at once")
    parser.add_argument("--engine", default="onnxruntime", help="onnxruntime or openvino")
    parser.add_argument("--mode", default="latency", help="latency or throughput")
    parser.add_argument("--threads", type=int, default=available_cpus())
    arguments = parser.parse_args()
    walk = shipped_walk(arguments.frames)
    settings = Settings(
        engine=arguments.engine, mode=arguments.mode, threads=arguments.threads, provider="cpu"
    )
    encoder = open_encoder(settings.model, settings.engine_choice())
    raw = Raw(encoder, align(walk).silhouettes, max(1, settings.batch_frames // len(walk)))
    bodies = bodies_of(walk)
    plan = Plan(arguments.seconds, arguments.rounds, arguments.callers)
    environment = {
        "METAGAIT_ENGINE": settings.engine,
        "METAGAIT_MODE": settings.mode,
        "METAGAIT_THREADS": str(settings.threads),
        "METAGAIT_PROVIDER": settings.provider,
        # Many callers may wait long on a slow machine, and are to be timed all the same.
        "METAGAIT_QUEUE_TIMEOUT_S": "300",
    }
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), environment) as server:
        connection = Connection(server.port)
        for body in bodies.values():
            for _ in range(_WARM_UP):
                connection.send(identify(body))
        lines, best = table(server, raw, bodies, plan)
        # Long enough to fill every place twice over what is done meanwhile.
        seconds = max(4 * arguments.seconds, 2 * settings.queue_walks / best)
        found = overload(server, identify(bodies["packed"]), 2 * best, seconds)
    what = f"{arguments.engine}, {arguments.mode}, {arguments.threads} threads"
    print(f"{encoder.facts.model_id}, {arguments.frames} frames, {what}\n")
    print("\n".join([*lines, "", *told(found, (settings.queue_walks + 1) / best)]))
    return 0 if set(found.statuses) <= {200, 503} else 1


if __name__ == "__main__":
    sys.exit(main())
