"""The index kind `milvus`: one server for several replicas, or galleries beyond one machine.

Every generation is a collection of rows, marks and vectors. Each replica follows the store by
itself and writes what is new to it, so that none has to trust another one to do so; writing or
deleting something twice changes nothing. Until Milvus is sure to show a row, the replica searches
its own copy of it (`gallery.indexes.newest`), so that no answer waits for a write. Rows in the
collection that this replica has not followed are left out of its answers: an erased sample that
another replica is late to delete cannot reappear.

Milvus no longer returns deleted vectors, but removes them from its own files only when it compacts
them, which `close` and `remove` cannot force. If the proof of an erasure must cover the index
files, use another kind.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery.errors import EngineMissing, IndexUnavailable
from gallery.index import Held
from gallery.indexes.newest import Newest

INDEX_TYPES = ("FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX")
"""Index types that a collection may have: Milvus accepts any word, and scans if it is unknown."""
MAX_LENGTH = 32_768
# Milvus returns at most so many results, and takes so many rows in a call.
_MOST = 16_384
_PAGE = 1000
# Bytes of vectors per call: a server accepts 64 MiB unless configured otherwise.
_CALL_BYTES = 16 * 1024 * 1024
# Seconds for operations that take Milvus some work: creating, indexing or loading a collection.
_WORK_S = 60.0
_PATIENCE_S = 10.0
# Seconds between tries, and their number, while another replica may be creating the same thing.
# Milvus Lite tells the second one "File exists", and does not show the collection yet.
_TRY_AGAIN_S, _TRIES = 0.25, 8
# Seconds during which a failed connection is retried: all clients of a process share one, and if
# the server ends it, the requests being made on it fail too. pymilvus itself retries all but
# the connecting.
_SOON_S = 1.0
_WIDEN = 8
# What approximate index types examine at least: clusters, and neighbours in the graph.
_PROBES, _NEIGHBOURS = 64, 128
_CLUSTERS = 1024
# Milvus shows a write to its searchers up to a fifth of a second late. "Strong" waits that long
# before every answer, "Session" after a write of our own; "Bounded" waits only for writes older
# than the server's `gracefulTime` (5 s by default), and we search newer ones ourselves (`Newest`).
_AS_WE_WROTE = "Session"
_SETTLED = "Bounded"
# A row that belongs to no sample; every replica overwrites it.
_NOBODY = -1


class MilvusIndex:
    """A `VectorIndex` in Milvus; several processes may use the same server."""

    kind = "milvus"

    def __init__(
        self,
        length: int,
        url: str,
        *,
        token: str = "",
        index_type: str = "FLAT",
        prefix: str = "metagait",
        patience_s: float = _PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to the server or file at `url`; a call may take `patience_s` seconds.

        `clock` returns seconds, to tell which writes are recent.
        """
        if index_type not in INDEX_TYPES:
            raise EngineMissing(
                f"expected a Milvus index type of {', '.join(INDEX_TYPES)}, got {index_type!r}"
            )
        if length > MAX_LENGTH:
            raise EngineMissing(
                f"expected embeddings of at most {MAX_LENGTH} numbers for Milvus, got {length}"
            )
        self._length = length
        self._url = url
        self._type = self._actual = index_type
        self._prefix = prefix
        self._patience_s = patience_s
        self._collection = ""
        self._rows: set[int] = set()
        self._newest = Newest(length, clock)
        self._client, self._errors = _connect(url, token, patience_s)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def state(self) -> str:
        """Describe how it searches, and in which collection."""
        return (
            f"{self._actual} in the collection {self._collection or 'none'}; erased vectors leave "
            "Milvus's own files when it compacts them"
        )

    def begin(self, name: str | None, retired: Collection[str] = ()) -> Held:
        """Load the rows of the generation's collection, and drop collections of retired ones."""
        self._rows = set()
        self._newest.begin()
        self._collection = ""
        if name is None:
            return Held.nothing()
        with self._in_our_words():
            for one in retired:
                if self._client.has_collection(self._named(one), timeout=_WORK_S):
                    self._client.drop_collection(self._named(one), timeout=_WORK_S)
            self._collection = self._named(name)
            self._make()
            self._client.load_collection(self._collection, timeout=_WORK_S)
            self._see_all_so_far()
            held = self._held()
        self._newest.begin()  # restart the period: rows written since may not be shown yet
        self._rows = set(held.rows.tolist())
        return held

    def add(
        self,
        rows: NDArray[np.int64],
        vectors: NDArray[np.float32],
        marks: NDArray[np.int64],
    ) -> None:
        """Add rows int64 `[N]` with vectors float32 `[N, L]`, overwriting any that a replica wrote.

        It does not ask which ones exist: the answer could be a fifth of a second old.
        """
        page = max(1, min(_PAGE, _CALL_BYTES // (4 * self._length)))
        for start in range(0, len(rows), page):
            here = slice(start, start + page)
            written = [
                {"row": row, "mark": mark, "vector": vector}
                for row, mark, vector in zip(
                    rows[here].tolist(), marks[here].tolist(), vectors[here], strict=True
                )
            ]
            with self._in_our_words():
                self._client.upsert(self._collection, written, timeout=self._patience_s)
            self._newest.add(rows[here], vectors[here])
            self._rows.update(rows[here].tolist())

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows int64 `[N]` from the collection; unknown rows are ignored."""
        for start in range(0, len(rows), _PAGE):
            page = rows[start : start + _PAGE].tolist()
            with self._in_our_words():
                self._client.delete(self._collection, ids=page, timeout=self._patience_s)
            self._newest.remove(rows[start : start + _PAGE])
            self._rows.difference_update(page)

    def search(
        self, vector: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the `k` rows nearest to a vector float32 `[L]`, at most 16,384 of them."""
        wanted = min(k, _MOST, len(self._rows))
        found = self._found_at(_SETTLED if self._newest.is_whole else _AS_WE_WROTE, vector, wanted)
        if len(found[0]) < wanted:
            self._check_count()
            found = self._found_at(_AS_WE_WROTE, vector, wanted)
        return found

    def close(self) -> None:
        """Close the connection; the collection stays."""
        self._client.close()

    def _found_at(
        self, level: str, vector: NDArray[np.float32], wanted: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search at a consistency level, and merge the newest rows."""
        limit = max(1, wanted)
        while True:
            squared, rows = self._nearest(vector, limit, level)
            ours = [place for place, row in enumerate(rows) if row in self._rows]
            if len(ours) >= wanted or len(rows) < limit or limit == _MOST:
                break
            limit = min(_MOST, limit * _WIDEN)
        shown = [squared[place] for place in ours], [rows[place] for place in ours]
        distances, found = self._newest.merged(vector, *shown)
        return distances[:wanted], found[:wanted]

    def _named(self, name: str) -> str:
        return f"{self._prefix}_{name}"

    def _make(self) -> None:
        """Create the collection and its index, unless they exist or another replica is quicker.

        An existing collection keeps its index: replicas with different settings would otherwise
        keep replacing each other's.
        """
        self._unless(self._is_there, self._make_collection)
        self._unless(self._indexed_by, self._make_index)
        self._actual = self._indexed_by()

    def _unless(self, done: Callable[[], object], do: Callable[[], None]) -> None:
        """Do what is not done yet; retry, as another replica may be in the middle of it."""
        for tries_left in reversed(range(_TRIES)):
            if done():
                return
            try:
                do()
            except self._errors:
                if not tries_left:
                    raise
                time.sleep(_TRY_AGAIN_S)

    def _is_there(self) -> bool:
        return bool(self._client.has_collection(self._collection, timeout=self._patience_s))

    def _make_collection(self) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("mark", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._length)
        self._client.create_collection(
            self._collection, schema=schema, consistency_level=_AS_WE_WROTE, timeout=_WORK_S
        )

    def _make_index(self) -> None:
        index = self._client.prepare_index_params()
        index.add_index(
            "vector", index_type=self._type, metric_type="L2", params=self._build_params()
        )
        self._client.create_index(self._collection, index, timeout=_WORK_S)

    def _indexed_by(self) -> str:
        """Return the type of the collection's index; "" if it has none yet."""
        for name in self._client.list_indexes(self._collection, "vector"):
            found = self._client.describe_index(self._collection, name, timeout=self._patience_s)
            return str(found["index_type"])
        return ""

    def _build_params(self) -> dict[str, Any]:
        if self._type.startswith("HNSW"):
            extra = {"sq_type": "SQ8"} if self._type == "HNSW_SQ" else {}
            return {"M": 32, "efConstruction": 200, **extra}
        return {"nlist": _CLUSTERS} if self._type.startswith("IVF") else {}

    def _search_params(self, limit: int) -> dict[str, Any]:
        if self._actual.startswith("HNSW"):
            return {"ef": max(_NEIGHBOURS, 2 * limit)}
        return {"nprobe": _PROBES} if self._actual.startswith("IVF") else {}

    def _see_all_so_far(self) -> None:
        """Make this session see all that any process has written, by a write of our own after it.

        It has to be an upsert: Milvus 2.3 does not report the time of a deletion.
        """
        nobody = {"row": _NOBODY, "mark": 0, "vector": np.zeros(self._length, np.float32)}
        self._client.upsert(self._collection, [nobody], timeout=self._patience_s)

    def _held(self) -> Held:
        """Return every row and mark of the collection, in row order."""
        rows: list[int] = []
        marks: list[int] = []
        while True:
            page = self._client.query(
                self._collection,
                filter=f"row > {rows[-1] if rows else _NOBODY}",
                output_fields=["row", "mark"],
                limit=_PAGE,
                consistency_level=_AS_WE_WROTE,
                timeout=self._patience_s,
            )
            found = sorted((one["row"], one["mark"]) for one in page)
            if not found:
                return Held(np.array(rows, np.int64), np.array(marks, np.int64))
            rows += [row for row, _ in found]
            marks += [mark for _, mark in found]

    def _nearest(
        self, vector: NDArray[np.float32], limit: int, level: str
    ) -> tuple[list[float], list[int]]:
        with self._in_our_words():
            (hits,) = self._client.search(
                self._collection,
                data=[vector],
                limit=limit,
                output_fields=["row"],
                search_params={"metric_type": "L2", "params": self._search_params(limit)},
                consistency_level=level,
                timeout=self._patience_s,
            )
            return [hit["distance"] for hit in hits], [hit["row"] for hit in hits]

    def _check_count(self) -> None:
        """Refuse to answer from a collection that something else emptied."""
        with self._in_our_words():
            found = self._client.query(
                self._collection,
                filter=f"row > {_NOBODY}",
                output_fields=["count(*)"],
                consistency_level=_AS_WE_WROTE,
                timeout=self._patience_s,
            )
            count = int(found[0]["count(*)"])
        if count < len(self._rows):
            raise IndexUnavailable(
                f"expected {len(self._rows)} rows in the Milvus collection {self._collection}, "
                f"got {count}; it is filled again"
            )

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise IndexUnavailable(f"expected Milvus to answer, got: {error}") from error


def _connect(url: str, token: str, seconds: float) -> tuple[Any, tuple[type[Exception], ...]]:
    """Connect; return the client and the errors that its calls may raise."""
    try:
        import grpc
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise EngineMissing(
            f"expected pymilvus for the index kind milvus, got: {error}; the extra 'milvus' "
            "installs it"
        ) from error
    # We raise each of its errors ourselves; its own log has a whole traceback per request.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    errors = (MilvusException, grpc.RpcError, grpc.FutureTimeoutError)
    began = time.monotonic()
    while True:
        try:
            return MilvusClient(url, token=token, timeout=seconds), errors
        except (*errors, ImportError, OSError, ValueError) as error:
            if time.monotonic() - began > _SOON_S:
                raise IndexUnavailable(
                    f"expected a Milvus server or file at {url}, got: {error}"
                ) from error
        time.sleep(_TRY_AGAIN_S)
