"""Re-embed a gallery with a model, beside the live generation, then switch to it.

    metagait rebuild --data DIR --model NEW.onnx      embed, check, switch
    metagait rebuild --data DIR --rollback            return to the generation before
    metagait rebuild --data DIR --drop-old            free what a rollback would need

A service goes on answering meanwhile. A rebuild that was killed is continued by the next one.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gallery import next_generation
from gallery.checks import check_limit
from gallery.database import FILE_NAME
from gallery.errors import RebuildFailed, RebuildRefused, StoreUnavailable
from gallery.following import chunks
from gallery.generations import Model
from gallery.index import ExactIndex
from gallery.packing import unpack_silhouettes
from gallery.store import Store

# Every tenth embedding is looked up in an index of all; its own distance is zero but for rounding.
_CHECK_EVERY = 10
_CHECK_HITS = 5
_ZERO = 1e-6

Progress = Callable[[int, int], None]
"""Told how many samples of how many are embedded."""


class EncoderFacts(Protocol):
    """What a rebuild needs to know of a model."""

    @property
    def model_id(self) -> str:
        """The model, as its file names it."""
        ...

    @property
    def embedding_length(self) -> int:
        """Numbers in a flattened embedding."""
        ...


class WalkEncoder(Protocol):
    """What a rebuild needs of an encoder."""

    @property
    def facts(self) -> EncoderFacts:
        """Which model it runs."""
        ...

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, L]`."""
        ...


@dataclass(frozen=True)
class RebuildReport:
    """What a rebuild did."""

    generation: int
    model_id: str
    embedded: int
    """Samples that this run embedded; an earlier, killed run may have done the others."""
    checked: int
    """Samples that were looked up in the new generation before the switch."""
    switched: bool
    """False when the model was live already."""


def silent(_done: int, _total: int) -> None:
    """Show no progress."""


def rebuild(
    store: Store, encoder: WalkEncoder, *, batch: int = 16, progress: Progress = silent
) -> RebuildReport:
    """Embed every sample with the encoder's model, check the result, and make it live.

    Args:
        store: the gallery; others may enrol, identify and erase in it meanwhile.
        encoder: runs the new model, whose input size must be that of the stored silhouettes.
        batch: walks in one call of the encoder.
        progress: called after each batch.

    Raises:
        InvalidLimit: `batch` is below 1.
        RebuildRefused: samples keep no silhouettes, so that they would be lost.
        RebuildFailed: the encoder's or the store's answer is wrong; the live generation stays.

    """
    check_limit(batch)
    model = Model(encoder.facts.model_id, encoder.facts.embedding_length)
    generation = next_generation.begin(store, model)
    if next_generation.is_live(store, model):
        return RebuildReport(generation, model.model_id, 0, 0, switched=False)
    embedded = _embed_missing(store, generation, encoder, batch, progress)
    checked = _check_self_search(store, generation, model)
    while not next_generation.switch(store, generation):
        embedded += _embed_missing(store, generation, encoder, batch, progress)
    return RebuildReport(generation, model.model_id, embedded, checked, switched=True)


def _embed_missing(
    store: Store, generation: int, encoder: WalkEncoder, batch: int, progress: Progress
) -> int:
    """Embed what the generation misses now; returns how many samples that were."""
    missing, total = next_generation.missing(store, generation)
    if missing.without_silhouettes:
        raise RebuildRefused(
            f"expected silhouettes of every sample, got {missing.without_silhouettes} samples "
            "enrolled by their embedding alone, which no other model can embed: erase them or "
            "enrol their walks first"
        )
    embedded, last = 0, 0
    while walks := next_generation.next_walks(store, generation, last, batch):
        rows = [walk.row for walk in walks]
        vectors = _encode(encoder, [unpack_silhouettes(walk.silhouettes) for walk in walks])
        next_generation.add_embeddings(store, generation, rows, vectors)
        embedded, last = embedded + len(rows), rows[-1]
        # What is enrolled meanwhile is embedded as well, so the first count may be passed.
        done = total - missing.samples + embedded
        progress(done, max(done, total))
    return embedded


def _encode(encoder: WalkEncoder, walks: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    vectors = encoder.encode(walks)
    expected = (len(walks), encoder.facts.embedding_length)
    if vectors.dtype != np.float32 or vectors.shape != expected:
        raise RebuildFailed(
            f"expected embeddings float32 {list(expected)} from the model, "
            f"got {vectors.dtype} {list(vectors.shape)}"
        )
    if not np.isfinite(vectors).all():
        raise RebuildFailed(
            "expected embeddings of finite numbers from the model, got NaN or infinite ones"
        )
    return vectors


def _check_self_search(store: Store, generation: int, model: Model) -> int:
    """Look every tenth stored embedding up among all; returns how many were looked up."""
    index = ExactIndex(model.embedding_length)
    probes: list[tuple[int, NDArray[np.float32]]] = []
    with store.database.reading() as connection:
        for chunk in chunks(connection, generation, model):
            index.add(chunk.rows, chunk.embeddings)
            picked = slice(None, None, _CHECK_EVERY)
            probes += zip(chunk.rows[picked].tolist(), chunk.embeddings[picked], strict=True)
        embedded = store.counts(connection, generation).embedded
    if len(index) != embedded:
        raise RebuildFailed(
            f"expected an index of {embedded} embeddings in generation {generation}, "
            f"got one of {len(index)}"
        )
    for row, vector in probes:
        _check_finds_itself(index, row, vector)
    return len(probes)


def _check_finds_itself(index: ExactIndex, row: int, vector: NDArray[np.float32]) -> None:
    squared, rows = index.search(vector, min(_CHECK_HITS, len(index)))
    # Where more samples than that are equal, it need not be among the first.
    hits = rows[squared <= _ZERO]
    if row not in hits and len(hits) < _CHECK_HITS:
        raise RebuildFailed(
            f"expected sample row {row} to find itself at distance 0, got row {rows[0]} at "
            f"distance {float(squared[0]) ** 0.5:.6g}"
        )


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait rebuild`."""
    parser.add_argument("--data", default="./data", help="the service's data folder, or a URL")
    parser.add_argument("--gallery", default="main", help="which gallery of it (main)")
    parser.add_argument("--batch", type=int, default=16, help="walks in one encoder call (16)")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--model", type=Path, help="the ONNX file to embed with")
    action.add_argument(
        "--rollback", action="store_true", help="return to the generation that was live before"
    )
    action.add_argument(
        "--drop-old", action="store_true", help="delete every generation but the live one"
    )


def run(arguments: argparse.Namespace) -> int:
    """Rebuild, roll back or drop, and say in a line what was done."""
    with closing(_open_existing(arguments.data, arguments.gallery)) as store:
        if arguments.rollback:
            model = next_generation.roll_back(store)
            print(f"The gallery {store.name} answers with {model.model_id} again.")
        elif arguments.drop_old:
            print(f"Dropped {next_generation.drop_others(store)} generations.")
        else:
            print(_sentence(_rebuild_with(store, arguments.model, arguments.batch)))
    return 0


def _open_existing(data: str, name: str) -> Store:
    if "://" not in data and not (Path(data) / FILE_NAME).is_file():
        raise StoreUnavailable(f"expected a gallery in the folder {data}, got no {FILE_NAME} there")
    return Store.open(data, name)


def _rebuild_with(store: Store, model: Path, batch: int) -> RebuildReport:
    from model.encoder import OnnxEncoder

    with closing(OnnxEncoder.open(model)) as encoder, _bar() as progress:
        return rebuild(store, encoder, batch=batch, progress=progress)


@contextmanager
def _bar() -> Iterator[Progress]:
    with tqdm(unit="sample", desc="Embedding") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _sentence(report: RebuildReport) -> str:
    if not report.switched:
        return f"Nothing to do: {report.model_id} is live already."
    return (
        f"Embedded {report.embedded} samples, looked {report.checked} up, and switched to "
        f"generation {report.generation} of {report.model_id}."
    )


if __name__ == "__main__":
    from metagait import main

    sys.exit(main(["rebuild", *sys.argv[1:]]))
