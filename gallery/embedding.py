"""The pipeline of a rebuild: read walks from a store, encode them, write them to a generation.

A reader thread unpacks the next walks while the encoder works on the current ones, and a writer
thread commits the previous embeddings, many per transaction. Walks are read in windows and sorted
by length within one, because a ragged batch costs its number of walks times its longest walk.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gallery import next_generation
from gallery.checks import are_comparable, numbers_expected
from gallery.errors import RebuildFailed, RebuildRefused, SampleDamaged
from gallery.next_generation import Walk, Window
from gallery.store import Store

_BATCHES_IN_A_WINDOW = 8
# Embeddings per transaction: 1 MiB if they have 8,192 numbers. A kill loses at most two of these.
_WRITE_TOGETHER = 32
# How many damaged samples an error message names.
_SAID = 20

Progress = Callable[[int, int], None]
"""Called with the number of embedded samples and the total; raising from it stops the work."""


class EncoderFacts(Protocol):
    """What a rebuild needs to know about a model."""

    @property
    def model_id(self) -> str:
        """Return the model's id, as named in its file."""
        ...

    @property
    def embedding_length(self) -> int:
        """Return how many numbers a flattened embedding has."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Return the height and width of the silhouettes that it takes."""
        ...


class WalkEncoder(Protocol):
    """What a rebuild needs from an encoder."""

    @property
    def facts(self) -> EncoderFacts:
        """Return the facts of the model that it runs."""
        ...

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, L]`."""
        ...


class Batch(NamedTuple):
    """Sample rows and their walks uint8 `[T_i, H, W]`, for one call of the encoder."""

    rows: list[int]
    walks: list[NDArray[np.uint8]]


class Spread(Protocol):
    """Several encoders of one model, wherever they run, that embed many batches in parallel."""

    def encode_each(self, batches: Iterator[Batch]) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
        """Yield each batch with its embeddings float32 `[N, L]`, in the order of the batches."""
        ...


def embed_missing(
    store: Store,
    generation: int,
    encoder: WalkEncoder,
    batch: int,
    progress: Progress,
    *,
    spread: Spread | None = None,
) -> int:
    """Embed all samples that the generation lacks now; return how many were embedded.

    Embeddings made before an error are kept, so that the next run continues from there.

    Args:
        store: the gallery.
        generation: the generation to complete.
        encoder: the model; it does the work unless there is a `spread`.
        batch: walks per call of the encoder.
        progress: see `Progress`.
        spread: encoders that share the work.

    Raises:
        RebuildRefused: some samples have no stored silhouettes.
        RebuildFailed: the encoder's answer is wrong, the generation was dropped meanwhile, or some
            samples' silhouettes cannot be read; all other samples are embedded in that last case.

    """
    missing, total = next_generation.missing(store, generation)
    if missing.without_silhouettes:
        raise RebuildRefused(
            f"expected silhouettes of every sample, got {missing.without_silhouettes} samples "
            "of which the embedding alone is kept, which no other model can embed: set the "
            "retention to `keep` and enrol their walks again, which adds what is missing, or erase "
            "them"
        )
    embedded, before = 0, total - missing.samples
    damaged: list[SampleDamaged] = []
    found = _batches(store, generation, batch, damaged)
    with _Writer(store, generation) as writer, closing(found) as all_:
        each = _one_by_one(encoder, all_) if spread is None else spread.encode_each(all_)
        for (rows, _), vectors in each:
            writer.add(rows, checked(vectors, len(rows), encoder.facts))
            embedded += len(rows)
            # Samples enrolled meanwhile are embedded as well, so the initial total may be exceeded.
            progress(before + embedded, max(before + embedded, total))
    _require_none(damaged)
    return embedded


def require_size(store: Store, facts: EncoderFacts) -> None:
    """Refuse a model whose input size differs from the gallery's stored silhouettes.

    Raises:
        RebuildRefused: it differs.

    """
    others = {size for size in next_generation.sizes(store) if size != facts.size}
    if others:
        got = ", ".join(f"{height} x {width}" for height, width in sorted(others))
        raise RebuildRefused(
            f"expected silhouettes of {facts.size[0]} x {facts.size[1]} pixels, which "
            f"{facts.model_id} takes, got some of {got}: enrol the walks themselves into another "
            "gallery with that model"
        )


def _require_none(damaged: Sequence[SampleDamaged]) -> None:
    if damaged:
        said = "\n".join(map(str, damaged[:_SAID]))
        more = f"\nand {len(damaged) - _SAID} more" if len(damaged) > _SAID else ""
        raise RebuildFailed(
            f"expected silhouettes of every sample, got {len(damaged)} samples whose silhouettes "
            f"cannot be read; all others are embedded. Erase these by their ids, or restore a "
            f"backup, and start the rebuild again, which goes on from here.\n{said}{more}"
        )


def checked(vectors: NDArray[np.float32], walks: int, facts: EncoderFacts) -> NDArray[np.float32]:
    """Return the encoder's answer for so many walks, float32 `[N, L]`, once it passed the checks.

    Raises:
        RebuildFailed: the dtype or shape is wrong, or a number cannot be compared.

    """
    expected = (walks, facts.embedding_length)
    if vectors.dtype != np.float32 or vectors.shape != expected:
        raise RebuildFailed(
            f"expected embeddings float32 {list(expected)} from the model, "
            f"got {vectors.dtype} {list(vectors.shape)}"
        )
    if not are_comparable(vectors).all():
        raise RebuildFailed(f"expected embeddings from the model {numbers_expected(vectors)}")
    return vectors


def embed_walks(encoder: WalkEncoder, walks: Sequence[Walk]) -> NDArray[np.float32]:
    """Embed stored walks in one call, and check the answer with `checked`."""
    return checked(encoder.encode(_batch(walks).walks), len(walks), encoder.facts)


def _one_by_one(
    encoder: WalkEncoder, batches: Iterator[Batch]
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    for batch in batches:
        yield batch, encoder.encode(batch.walks)


def in_batches(walks: Sequence[Walk], batch: int) -> list[list[Walk]]:
    """Split walks into batches of similar length, the longest last."""
    ordered = sorted(walks, key=lambda walk: walk.silhouettes.shape[0])
    return [ordered[start : start + batch] for start in range(0, len(ordered), batch)]


def _batches(
    store: Store, generation: int, batch: int, damaged: list[SampleDamaged]
) -> Generator[Batch, None, None]:
    """Yield batches, reading ahead: while the caller works on a window, the next one is unpacked.

    Samples that cannot be read are skipped, and their errors are appended to `damaged`.
    """

    def window(after: int) -> Window:
        return next_generation.next_walks(store, generation, after, _BATCHES_IN_A_WINDOW * batch)

    with ThreadPoolExecutor(1, thread_name_prefix="rebuild-read") as reader:
        pending = reader.submit(window, 0)
        while (found := pending.result()).last is not None:
            pending = reader.submit(window, found.last)
            damaged += found.damaged
            yield from map(_batch, in_batches(found.walks, batch))


def _batch(walks: Sequence[Walk]) -> Batch:
    return Batch([walk.row for walk in walks], [walk.silhouettes for walk in walks])


class _Writer:
    """Commits embeddings in the background, at most one transaction behind the encoder."""

    def __init__(self, store: Store, generation: int) -> None:
        self._store = store
        self._generation = generation
        self._rows: list[int] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rebuild-write")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        # Also after an error: what is embedded is kept for the run that continues this one.
        with self._thread:
            self._flush()
            self._wait()

    def add(self, rows: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Queue embeddings float32 `[N, L]` of N sample rows for writing."""
        self._rows += rows
        self._vectors.append(vectors)
        if len(self._rows) >= _WRITE_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        self._wait()
        if self._rows:
            rows, vectors = self._rows, np.concatenate(self._vectors)
            self._rows, self._vectors = [], []
            self._pending = self._thread.submit(
                next_generation.add_embeddings, self._store, self._generation, rows, vectors
            )

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()
