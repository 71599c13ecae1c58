"""Measure what `metagait enroll` gains from concurrent uploads and from checking for known walks.

    python benchmarks/enroll.py [--walks 40] [--rounds 5] [--at-once 1 4 16] [--away-ms 20]

Starts a service, and enrols a tree of ZIP files of PNGs, each one a person's only walk, with the
command itself. Each number of concurrent uploads takes its turn, and each tree is enrolled twice,
the second time with every walk known. Rates are by wall clock; ratios are medians over the rounds,
each relative to the first row of its round. `--away-ms` delays every byte by that much, like a
network to a service on another machine.
"""

import argparse
import asyncio
import contextlib
import io
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from machine import processors
from serving import as_zip, serving, shipped_walk

from metagait import main as metagait
from model.tables import markdown

FRAMES = 60
NEW, KNOWN = "enrolled", "enrolled before"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--walks", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--away-ms", type=float, default=0.0)
    given = parser.parse_args()
    walk = shipped_walk(FRAMES)
    # Each starts at another frame, so that no two walks are the same.
    walks = [as_zip(np.roll(walk, number, axis=0)) for number in range(given.walks)]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as server,
        away(server.port, given.away_ms / 1000) as port,
    ):
        took: dict[tuple[str, int], list[float]] = {}
        for number in range(given.rounds + 1):
            for at_once in given.at_once:
                tree = Path(folder) / f"{number}-{at_once}"
                plant(tree, walks)
                for kind in (NEW, KNOWN):
                    seconds = enrolled(tree, port, at_once, f"{given.walks} {kind}")
                    if number:  # the first round is a warm-up
                        took.setdefault((kind, at_once), []).append(seconds)
    print(
        f"{given.walks} walks of {FRAMES} frames, {given.rounds} rounds, {given.away_ms:g} ms "
        f"away, {processors()}\n"
    )
    print(markdown([["walks", "on the way", "walks/s", "x the first"], *rows(given.walks, took)]))


@contextlib.contextmanager
def away(port: int, seconds: float) -> Iterator[int]:
    """Yield a port that forwards to `port` with a delay; with no delay, `port` itself."""
    if not seconds:
        yield port
        return

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        on_the_way = asyncio.get_running_loop().call_later
        while data := await reader.read(65_536):
            on_the_way(seconds, writer.write, data)
        on_the_way(seconds, writer.close)

    async def relayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(passed(reader, there[1]), passed(there[0], writer))

    loop = asyncio.new_event_loop()
    relay = loop.run_until_complete(asyncio.start_server(relayed, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield relay.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in (left := asyncio.all_tasks(loop)):
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()


def plant(tree: Path, walks: list[bytes]) -> None:
    """Write a tree of people with one walk each, whose names are unique to this tree."""
    for number, walk in enumerate(walks):
        person = tree / f"{tree.name}-{number}"
        person.mkdir(parents=True)
        (person / "walk.zip").write_bytes(walk)


def enrolled(tree: Path, port: int, at_once: int, expected: str) -> float:
    """Enrol a tree with the command; return the seconds that it took."""
    printed = io.StringIO()
    words = ["enroll", str(tree), "--url", f"http://127.0.0.1:{port}", "--at-once", str(at_once)]
    unseen = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(unseen):
        began = time.perf_counter()
        status = metagait(words)
        seconds = time.perf_counter() - began
    if status or printed.getvalue().strip() != expected:
        raise SystemExit(f"expected {expected!r}, got status {status}: {printed.getvalue()}")
    return seconds


def rows(walks: int, took: dict[tuple[str, int], list[float]]) -> list[list[str]]:
    """Return a row for each kind of walk and number of concurrent uploads."""
    table = []
    for (kind, at_once), seconds in sorted(took.items()):
        first = next(times for (one, _), times in took.items() if one == kind)
        ratio = median(a / b for a, b in zip(first, seconds, strict=True))
        rate = walks / median(seconds)
        table.append([kind, str(at_once), f"{rate:.1f}", f"{ratio:.2f}"])
    return table


if __name__ == "__main__":
    main()
