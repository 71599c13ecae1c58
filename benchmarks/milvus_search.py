"""Measure the latency of Milvus by consistency: waiting for no, own, or all processes' writes.

    python benchmarks/milvus_search.py http://127.0.0.1:19530 [--samples 10000] [--rounds 50]

Fills a collection of its own with random embeddings of 256 numbers through the index `milvus`. In
turn, it asks for the ten nearest long after a write, through the index and by plain pymilvus at the
level "Strong", and right after a write, through the index and by pymilvus at the level "Session".
Finally it drops the collection. Times are by wall clock, because waiting is what is measured.
"""

import argparse
import time
import uuid
from collections.abc import Callable
from statistics import median

import numpy as np
from machine import processors
from pymilvus import MilvusClient

from gallery.indexes.milvus import MilvusIndex
from gallery.indexes.newest import KEPT_S
from model.tables import markdown

NUMBERS, NEAREST = 256, 10
STRONG = "long after a write, Strong"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()
    index = MilvusIndex(NUMBERS, given.url, prefix=f"benchmark_{uuid.uuid4().hex[:8]}")
    client = MilvusClient(given.url)
    before = set(client.list_collections())
    index.begin("0")
    (collection,) = set(client.list_collections()) - before
    try:
        took = measured(index, client, collection, given.samples, given.rounds)
        version = client.get_server_version()
    finally:
        client.drop_collection(collection)
        index.close()
    strong = median(took[STRONG])
    rows = [[name, f"{1000 * median(times):.1f}", f"{1000 * max(times):.1f}",
             f"{median(times) / strong:.2f}"] for name, times in took.items()]  # fmt: skip
    print(f"Milvus {version}, {given.samples:,} samples, {processors()}\n")
    print(markdown([["asked", "median, ms", "longest, ms", "× Strong"], *rows]))


def measured(
    index: MilvusIndex, client: MilvusClient, collection: str, samples: int, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each kind of search; the first round is a warm-up."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((samples, NUMBERS), np.float32)
    numbers = np.arange(samples)
    index.add(numbers, vectors, numbers)
    probe = vectors[0]
    time.sleep(KEPT_S)  # until the index no longer holds these as its newest rows

    def plainly(level: str) -> Callable[[], object]:
        return lambda: client.search(
            collection, data=[probe], limit=NEAREST, output_fields=["row"],
            search_params={"metric_type": "L2", "params": {}}, consistency_level=level,
        )  # fmt: skip

    asked: dict[str, tuple[bool, Callable[[], object]]] = {
        "long after a write, the index": (False, lambda: index.search(probe, NEAREST)),
        STRONG: (False, plainly("Strong")),
        "right after one, the index": (True, lambda: index.search(probe, NEAREST)),
        "right after one, Session": (True, plainly("Session")),
    }
    took: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(rounds + 1):
        for name, (is_after_a_write, ask) in asked.items():
            time.sleep(0.5)  # until everybody sees the last write
            if is_after_a_write:
                index.add(numbers[:1], vectors[:1], numbers[:1])
            began = time.perf_counter()
            ask()
            if number:
                took[name].append(time.perf_counter() - began)
    return took


if __name__ == "__main__":
    main()
