"""Break down the time of a request, from the metrics of the service and of the system.

The waiting time of a stage is the mean of `metagait_stage_seconds`, its processor time that of
`metagait_stage_processor_seconds`. The event loop is the process's first thread, whose processor
time the system reports. The rest of the process's time is attributed to the encoder. The rest of
the caller's waiting time is the way: the connection, the event loop, and the hops between threads.
The encoder's idle time per walk shows whether a service at full load keeps it busy.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from serving import Connection, Request, Server

STAGES = ("receive", "decode", "align", "quality", "queue", "encode", "gallery")
EMPTY_CALL = Request("GET", "/livez")
_EMPTY_CALLS = 300


@dataclass(frozen=True)
class Reading:
    """The counters at one moment, in seconds."""

    stages: Mapping[str, float]
    processor: Mapping[str, float]
    """By stage, and of the event `loop`."""
    process: float
    callers: float
    """Processor time of this process, which sends the requests."""

    @classmethod
    def of(cls, server: Server) -> "Reading":
        """Read all counters now."""
        sums = _sums(Connection(server.port).send(Request("GET", "/metrics"))[1].decode())
        return cls(
            stages={stage: sums["metagait_stage_seconds_sum", stage] for stage in STAGES},
            processor={
                stage: sums.get(("metagait_stage_processor_seconds_total", stage), 0.0)
                for stage in STAGES
            }
            | {"loop": loop_s(server)},
            process=server.processor_s(),
            callers=time.process_time(),
        )


@dataclass(frozen=True)
class Spent:
    """The waiting and processor time of a walk, in milliseconds."""

    wall: Mapping[str, float]
    processor: Mapping[str, float]

    @classmethod
    def between(
        cls, before: Reading, after: Reading, walks: int, waited_s: float, whole_s: float
    ) -> "Spent":
        """Average the counters over `walks` in `whole_s`, whose callers waited `waited_s`.

        The encoder's idle time is correct for one that embeds one walk per call, one call at a
        time, as on a CPU in the mode `latency`.
        """
        wall = {
            stage: (after.stages[stage] - before.stages[stage]) * 1000 / walks for stage in STAGES
        }
        wall["way"] = waited_s * 1000 / walks - sum(wall.values())
        wall["idle"] = whole_s * 1000 / walks - wall["encode"]
        processor = {
            name: (after.processor[name] - before.processor[name]) * 1000 / walks
            for name in after.processor
        }
        processor["encode"] = (after.process - before.process) * 1000 / walks - sum(
            processor.values()
        )
        processor["callers"] = (after.callers - before.callers) * 1000 / walks
        return cls(wall, processor)


def empty_call_ms(server: Server) -> float:
    """Return the event loop's processor milliseconds for a call that does nothing."""
    connection, before = Connection(server.port), loop_s(server)
    for _ in range(_EMPTY_CALLS):
        connection.send(EMPTY_CALL)
    connection.close()
    return (loop_s(server) - before) * 1000 / _EMPTY_CALLS


def loop_s(server: Server) -> float:
    """Return the processor seconds of the thread that runs the event loop."""
    assert server.process is not None
    pid = server.process.pid
    # In nanoseconds; `stat` counts in hundredths of a second.
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text("ascii").split()[0]) / 1e9


def table(columns: Mapping[str, Spent]) -> list[str]:
    """Return a table in Markdown: a row per stage, two columns for each of `columns`."""
    heads = "".join(f" {name}, wall ms | processor ms |" for name in columns)
    lines = [f"| stage |{heads}", "| --- |" + " --: | --: |" * len(columns)]
    for stage, words in _WORDS.items():
        cells = [
            f" {_figure(spent.wall, stage)} | {_figure(spent.processor, stage)} |"
            for spent in columns.values()
        ]
        lines.append(f"| {words} |{''.join(cells)}")
    return lines


_WORDS = {
    "receive": "receiving the body",
    "decode": "decoding",
    "align": "alignment",
    "quality": "quality",
    "queue": "waiting for the encoder",
    "encode": "encoder, and the rest of the process",
    "gallery": "search and threshold",
    "loop": "event loop: HTTP, form, checks, JSON, log",
    "way": "connection, event loop, hand-overs between threads",
    "callers": "callers, in their own process",
    "idle": "the encoder was idle (not part of the sum)",
}


def _figure(figures: Mapping[str, float], stage: str) -> str:
    return f"{figures[stage]:.2f}" if figures.get(stage) else "–"


def _sums(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels["stage"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "stage" in sample.labels
    }
