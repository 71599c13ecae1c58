"""Walks out of a store, embeddings into one of its generations, and the encoder busy in between.

A reading thread unpacks the next walks while the encoder works on these, and a writing thread
commits the embeddings of those before, many in one transaction. Walks are taken in windows and
sorted by length within one, because a ragged batch costs its number of walks times its longest.
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
# Embeddings in one transaction: 1 MiB of 8,192 numbers. A kill costs at most two of these.
_WRITE_TOGETHER = 32
# Damaged samples that an error names.
_SAID = 20

Progress = Callable[[int, int], None]
"""Told how many samples of how many are embedded; what it raises stops the work."""


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

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the silhouettes that it takes."""
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


class Batch(NamedTuple):
    """Sample rows and their walks uint8 `[T_i, H, W]`, for one call of the encoder."""

    rows: list[int]
    walks: list[NDArray[np.uint8]]


class Spread(Protocol):
    """Several encoders of one model that embed many batches at a time, wherever they are."""

    def encode_each(self, batches: Iterator[Batch]) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
        """Embed batches as float32 `[N, L]`; gives each with its own, in their order."""
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
    """Embed what the generation misses now, spread or not; returns how many samples that were.

    What was embedded before an error is kept, so that the next run goes on from there.

    Raises:
        RebuildRefused: samples keep no silhouettes.
        RebuildFailed: the encoder's answer is wrong, the generation was dropped meanwhile, or the
            silhouettes of some samples cannot be read; all others are embedded then.

    """
    missing, total = next_generation.missing(store, generation)
    if missing.without_silhouettes:
        raise RebuildRefused(
            f"expected silhouettes of every sample, got {missing.without_silhouettes} samples "
            "enrolled by their embedding alone, which no other model can embed: erase them or "
            "enrol their walks first"
        )
    embedded, before = 0, total - missing.samples
    damaged: list[SampleDamaged] = []
    found = _batches(store, generation, batch, damaged)
    with _Writer(store, generation) as writer, closing(found) as all_:
        each = _one_by_one(encoder, all_) if spread is None else spread.encode_each(all_)
        for (rows, _), vectors in each:
            writer.add(rows, checked(vectors, len(rows), encoder.facts))
            embedded += len(rows)
            # What is enrolled meanwhile is embedded as well, so the first count may be passed.
            progress(before + embedded, max(before + embedded, total))
    _require_none(damaged)
    return embedded


def require_size(store: Store, facts: EncoderFacts) -> None:
    """Refuse a model that takes silhouettes of another size than the gallery keeps.

    Raises:
        RebuildRefused: it does.

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
    """Return embeddings of so many walks, float32 `[N, L]`, all of which can be compared.

    Raises:
        RebuildFailed: they are anything else.

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
    """Embed stored walks in one call, and check the answer as `checked` does."""
    return checked(encoder.encode(_batch(walks).walks), len(walks), encoder.facts)


def _one_by_one(
    encoder: WalkEncoder, batches: Iterator[Batch]
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    for batch in batches:
        yield batch, encoder.encode(batch.walks)


def in_batches(walks: Sequence[Walk], batch: int) -> list[list[Walk]]:
    """Split walks into batches of neighbours in length, the longest last."""
    ordered = sorted(walks, key=lambda walk: walk.silhouettes.shape[0])
    return [ordered[start : start + batch] for start in range(0, len(ordered), batch)]


def _batches(
    store: Store, generation: int, batch: int, damaged: list[SampleDamaged]
) -> Generator[Batch, None, None]:
    """Read ahead: while the caller works on one window, the next is read and unpacked.

    Samples that cannot be read are passed over, and what is wrong is added to `damaged`.
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
    """Commits embeddings behind the encoder, at most one transaction behind."""

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
        """Take embeddings float32 `[N, L]` of N sample rows."""
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
