"""Compare the speed of the served path with the raw encoder, in one run on one machine.

    python benchmarks/serve.py [--seconds 4] [--rounds 5] [--frames 30] [--callers 1 4 16 64]
                               [--engine onnxruntime] [--mode latency] [--threads N]
                               [--provider cpu] [--model FILE]
                               [--stages] [--overload]

Starts `metagait serve` on a free loopback port. Rounds with each form of body are run between two
raw rounds, in which the same engine in the same mode with the same threads embeds the same walk
without a service. So the ratios are valid even on a machine whose speed varies; the table shows the
median ratio over the rounds. One caller is compared with single walks; several with the call size,
and the number of concurrent calls, that suit the engine best: on a CPU, one walk per call. Then
twice the throughput is offered to a service that promises to start on a walk within half the time
that its places would allow. It may answer only 200 and 503 (otherwise the exit status is 1), and
accepted walks should be done within the promise. All results, and where the time of a request goes,
are written to `docs/serve.md`; `--stages` and `--overload` print only the one or the other.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import stages
from machine import processors
from numpy.typing import NDArray
from overloading import Overload, overload, told
from raw import Raw, Timed
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

from model.encoder import SHIPPED_MODEL, Encoder, available_cpus, open_encoder
from model.silhouettes import align
from service.packed import pack
from service.settings import Settings

CALLERS = (1, 4, 16, 64)
_WARM_UP = 3


def served(server: Server, request: Request, callers: int, seconds: float) -> Timed:
    """Let this many callers repeat a request, each as soon as it is answered."""
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
    """How long and how often to measure, and with how many concurrent callers."""

    seconds: float
    rounds: int
    callers: Sequence[int]


@dataclass(frozen=True)
class Round:
    """A served round, and the raw rounds before and after it."""

    served: Timed
    before: Timed
    after: Timed

    @property
    def throughput(self) -> float:
        """Return the walks per second, as a share of the raw rate."""
        return 2 * self.served.rate / (self.before.rate + self.after.rate)

    @property
    def latency(self) -> float:
        """Return the median time of a walk, as a multiple of the raw one."""
        return 2 * self.served.median / (self.before.median + self.after.median)

    @property
    def cost(self) -> float:
        """Return the processor time of a walk, as a multiple of the raw one."""
        return 2 * self.served.cost / (self.before.cost + self.after.cost)


Cell = tuple[str, int]
"""The form of a body, and how many callers send it concurrently."""


def measured(
    server: Server, raw: Raw, bodies: Mapping[str, bytes], plan: Plan
) -> dict[Cell, list[Round]]:
    """Measure all forms and numbers of callers, round after round."""
    rounds: dict[Cell, list[Round]] = {
        (body, callers): [] for body in bodies for callers in plan.callers
    }
    for number in range(plan.rounds):
        raw_rounds: dict[bool, Timed] = {}
        for callers in plan.callers:
            alone = callers == 1
            measure = raw.one_by_one if alone else raw.as_served
            before = raw_rounds.get(alone) or measure(plan.seconds)
            some = {
                body: served(server, identify(content), callers, plan.seconds)
                for body, content in bodies.items()
            }
            raw_rounds[alone] = after = measure(plan.seconds)
            for body, timed in some.items():
                rounds[body, callers].append(Round(timed, before, after))
        print(f"round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)
    return rounds


def table(rounds: Mapping[Cell, Sequence[Round]], bodies: Mapping[str, bytes]) -> list[str]:
    """Return the table in Markdown, with medians over the rounds."""
    lines = [
        "| body | bytes | callers | walks/s | × raw | median ms | × raw | processor ms | × raw |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for (body, callers), some in rounds.items():
        rate, wait, cost = (
            statistics.median(figure(one.served) for one in some)
            for figure in (lambda t: t.rate, lambda t: t.median, lambda t: t.cost)
        )
        # A single caller leaves the encoder idle between calls; several wait for each other.
        throughput = "–" if callers == 1 else f"{_median(some, 'throughput'):.2f}"
        latency = f"{_median(some, 'latency'):.2f}" if callers == 1 else "–"
        lines.append(
            f"| {body} | {len(bodies[body]):,} | {callers} | {rate:.1f} | {throughput} | "
            f"{wait * 1000:.0f} | {latency} | {cost * 1000:.0f} | {_median(some, 'cost'):.2f} |"
        )
    return lines


def _median(rounds: Sequence[Round], figure: str) -> float:
    return statistics.median(getattr(one, figure) for one in rounds)


def bodies_of(walk: NDArray[np.uint8]) -> dict[str, bytes]:
    """Return the walk in each form that a body may have."""
    return {"zip of PNG": as_zip(walk), "npy": as_npy(walk), "packed": pack(walk)}


def main() -> int:
    """Write the page; return 1 if an overload was answered with anything but 200 and 503."""
    arguments = _parser().parse_args()
    walk = shipped_walk(arguments.frames)
    settings = settings_of(arguments)
    encoder = open_encoder(settings.model, settings.engine_choice())
    frames = settings.batch_frames or encoder.runtime.batch_frames
    raw = Raw(encoder, align(walk).silhouettes, max(1, frames // len(walk)))
    bodies = bodies_of(walk)
    plan = Plan(arguments.seconds, arguments.rounds, arguments.callers)
    environment = _environment(settings)
    if arguments.overload:
        found, lines = overloaded(environment, bodies["packed"], plan)
        print(" ".join(lines))
        return 0 if found.only_refusals else 1
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), environment) as server:
        _warm_up(server, bodies)
        if arguments.stages:
            print("\n".join(stages_of(server, bodies, plan)))
            return 0
        rounds = measured(server, raw, bodies, plan)
        spent = stages_of(server, bodies, plan)
    found, lines = overloaded(environment, bodies["packed"], plan)
    text = page(_what(encoder, arguments), table(rounds, bodies), lines, spent)
    arguments.output.write_text(text, encoding="utf-8")
    print(text)
    return 0 if found.only_refusals else 1


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings for the service, and for the raw encoder."""
    return Settings(
        model=arguments.model,
        engine=arguments.engine,
        mode=arguments.mode,
        threads=arguments.threads,
        provider=arguments.provider,
    )


def overloaded(
    environment: Mapping[str, str], body: bytes, plan: Plan
) -> tuple[Overload, list[str]]:
    """Offer twice the capacity to a service that promises short waiting times."""
    request, places = identify(body), Settings().queue_walks
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), environment) as server:
        _warm_up(server, {"": body})
        alone_s = served(server, request, 1, plan.seconds).median
        rate = served(server, request, max(plan.callers), plan.seconds).rate
        server.stop()
        # Half of what the places allow, so that the promise refuses walks, not the lack of places.
        patience_s = round(places / rate / 2, 1)
        server.environment = {**environment, "METAGAIT_QUEUE_TIMEOUT_S": str(patience_s)}
        server.start()
        _warm_up(server, {"": body})
        # Long enough to exceed the permitted waiting time several times.
        seconds = max(4 * plan.seconds, 4 * patience_s)
        found = overload(server.port, request, 2 * rate, seconds)
    return found, told(found, patience_s, alone_s)


def page(what: str, lines: Sequence[str], refused: Sequence[str], spent: Sequence[str]) -> str:
    """Return the text of the page."""
    parts = [
        "# Speed of the served path",
        what,
        "\n".join(lines),
        "## Twice the load",
        " ".join(refused),
        "## Where the time goes",
        "\n".join(spent),
    ]
    return "\n\n".join(parts).rstrip() + "\n"


def _what(encoder: Encoder, arguments: argparse.Namespace) -> str:
    threads = f"{arguments.threads} {'thread' if arguments.threads == 1 else 'threads'}"
    return (
        f"`python benchmarks/serve.py --rounds {arguments.rounds} "
        f"--seconds {arguments.seconds:g} --threads {arguments.threads}{_others(arguments)}`, "
        f"{datetime.now(UTC):%d %B %Y}, {processors()}: {encoder.facts.model_id}, "
        f"{arguments.frames} frames, {arguments.engine}, {encoder.runtime.provider}, "
        f"{arguments.mode}, {threads}. Written by "
        "that command; [performance](performance.md#how-the-service-is-measured) explains the "
        "columns."
    )


def _others(arguments: argparse.Namespace) -> str:
    """Return the options that differ from the defaults, so that the page can be reproduced."""
    usual = _parser().parse_args([])
    given = {
        name: getattr(arguments, name)
        for name in ("frames", "callers", "engine", "mode", "provider", "model")
        if getattr(arguments, name) != getattr(usual, name)
    }
    if "callers" in given:
        given["callers"] = " ".join(map(str, given["callers"]))
    return "".join(f" --{name} {value}" for name, value in given.items())


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "METAGAIT_MODEL": str(settings.model),
        "METAGAIT_ENGINE": settings.engine,
        "METAGAIT_MODE": settings.mode,
        "METAGAIT_THREADS": str(settings.threads),
        "METAGAIT_PROVIDER": settings.provider,
        # Many callers may wait long on a slow machine, and must still be measured.
        "METAGAIT_QUEUE_TIMEOUT_S": "300",
    }


def stages_of(server: Server, bodies: Mapping[str, bytes], plan: Plan) -> list[str]:
    """Return a table for each form: one caller, and the maximum number of callers."""
    empty_ms = stages.empty_call_ms(server)
    lines = [f"An empty call takes {empty_ms:.2f} ms of the event loop's processor time.", ""]
    for body, content in bodies.items():
        columns = {}
        for callers in (1, max(plan.callers)):
            before = stages.Reading.of(server)
            timed = served(server, identify(content), callers, plan.seconds)
            spent = stages.Spent.between(
                before, stages.Reading.of(server), len(timed.each), sum(timed.each), timed.whole
            )
            columns[f"{body}, {callers} at once"] = spent
        lines += [*stages.table(columns), ""]
    return lines


def _warm_up(server: Server, bodies: Mapping[str, bytes]) -> None:
    connection = Connection(server.port)
    for body in bodies.values():
        for _ in range(_WARM_UP):
            connection.send(identify(body))
    connection.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--callers", type=int, nargs="+", default=CALLERS, help="at once")
    parser.add_argument("--engine", default="onnxruntime", help="onnxruntime or openvino")
    parser.add_argument("--mode", default="latency", help="latency or throughput")
    parser.add_argument("--provider", default="cpu", help="cpu, cuda or tensorrt")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="ONNX model file")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--output", type=Path, default=Path("docs/serve.md"))
    parser.add_argument("--stages", action="store_true", help="where the time of a request goes")
    parser.add_argument("--overload", action="store_true", help="twice the load, and nothing else")
    return parser


if __name__ == "__main__":
    sys.exit(main())
