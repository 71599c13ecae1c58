"""Search in Milvus: one server for several replicas, and galleries beyond one machine.

Every generation is a collection of rows, marks and vectors. Each replica follows the store by
itself and writes what is new to it, so that none has to trust that another one did; writing twice
and deleting twice change nothing. Until Milvus is sure to show a row, the replica looks through its
own copy of it (`gallery.indexes.newest`), so that no answer waits for a write. What the collection
holds beyond what this replica has followed is left out of its answers: an erased sample that
another replica is late to delete cannot come back.

Milvus answers from deleted vectors no more, but takes them out of its own files only when it
compacts them, which `close` and `remove` cannot force. Where the proof of an erasure has to include
the index files, use another kind.
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
"""What a collection may be indexed by: Milvus takes any word, and scans by an unknown one."""
MAX_LENGTH = 32_768
# Milvus returns so many at most, and takes so many rows in a call.
_MOST = 16_384
_PAGE = 1000
# Bytes of vectors in one call: a server takes 64 MiB unless it was told otherwise.
_CALL_BYTES = 16 * 1024 * 1024
# Seconds for what makes Milvus work: a collection, its index, its way into memory.
_WORK_S = 60.0
_PATIENCE_S = 10.0
# Seconds, and times, for what another replica is in the middle of making. Milvus Lite says "File
# exists" to who comes second, and does not show the collection yet.
_TRY_AGAIN_S, _TRIES = 0.25, 8
# Seconds in which a refusal to be let in is asked again: all clients of a process share a
# connection, and one that the server ends takes along what is asked on it just then. pymilvus asks
# everything else again by itself.
_SOON_S = 1.0
_WIDEN = 8
# What the approximate types look at, at least: clusters, and neighbours in the graph.
_PROBES, _NEIGHBOURS = 64, 128
_CLUSTERS = 1024
# Milvus shows a write to its searchers up to a fifth of a second late. "Strong" waits that long
# before every answer, "Session" after a write of our own; "Bounded" waits for what is older than
# the server's `gracefulTime` (5 s unless it is set otherwise), and what is newer is looked through
# here (`Newest`).
_AS_WE_WROTE = "Session"
_SETTLED = "Bounded"
# A row of no sample, which every replica writes over.
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
        """Connect to the server or file at `url`, which may take `patience_s` for an answer.

        `clock` tells seconds, to know what was written of late.
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
        self._type = self._found = index_type
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
        """Say what searches where."""
        return (
            f"{self._found} in the collection {self._collection or 'none'}; erased vectors leave "
            "Milvus's own files when it compacts them"
        )

    def begin(self, name: str | None, retired: Collection[str] = ()) -> Held:
        """Hold what the generation's collection holds; collections that answer no more go."""
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
        self._newest.begin()  # from now on: what was written meanwhile may not be shown yet
        self._rows = set(held.rows.tolist())
        return held

    def add(
        self,
        rows: NDArray[np.int64],
        vectors: NDArray[np.float32],
        marks: NDArray[np.int64],
    ) -> None:
        """Add rows int64 `[N]` with vectors float32 `[N, L]`, over what another replica wrote.

        Whether it did is not asked: the answer may be a fifth of a second old.
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
        """Remove rows int64 `[N]` from the collection; those that are not there are ignored."""
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
        """Search at a level of consistency, and look through the newest rows as well."""
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
        """Make the collection and its index, unless they are there or another replica is quicker.

        One that is there keeps the index that it has: replicas that are set differently would
        else take it from each other.
        """
        self._unless(self._is_there, self._make_collection)
        self._unless(self._indexed_by, self._make_index)
        self._found = self._indexed_by()

    def _unless(self, done: Callable[[], object], do: Callable[[], None]) -> None:
        """Do what is not done; where that fails, another replica may be in the middle of it."""
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
        index.add_index("vector", index_type=self._type, metric_type="L2", params=self._built())
        self._client.create_index(self._collection, index, timeout=_WORK_S)

    def _indexed_by(self) -> str:
        """Tell the type of the collection's index; "" where it has none yet."""
        for name in self._client.list_indexes(self._collection, "vector"):
            found = self._client.describe_index(self._collection, name, timeout=self._patience_s)
            return str(found["index_type"])
        return ""

    def _built(self) -> dict[str, Any]:
        if self._type.startswith("HNSW"):
            extra = {"sq_type": "SQ8"} if self._type == "HNSW_SQ" else {}
            return {"M": 32, "efConstruction": 200, **extra}
        return {"nlist": _CLUSTERS} if self._type.startswith("IVF") else {}

    def _searched(self, limit: int) -> dict[str, Any]:
        if self._found.startswith("HNSW"):
            return {"ef": max(_NEIGHBOURS, 2 * limit)}
        return {"nprobe": _PROBES} if self._found.startswith("IVF") else {}

    def _see_all_so_far(self) -> None:
        """See from now on what any process has written until now, as what is older than ours.

        Only a row that is written tells its time: Milvus 2.3 does not tell that of a deletion.
        """
        nobody = {"row": _NOBODY, "mark": 0, "vector": np.zeros(self._length, np.float32)}
        self._client.upsert(self._collection, [nobody], timeout=self._patience_s)

    def _held(self) -> Held:
        """Read every row and mark of the collection, in the order of the rows."""
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
                search_params={"metric_type": "L2", "params": self._searched(limit)},
                consistency_level=level,
                timeout=self._patience_s,
            )
            return [hit["distance"] for hit in hits], [hit["row"] for hit in hits]

    def _check_count(self) -> None:
        """Refuse to answer from a collection that somebody else emptied."""
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
    """Connect, and tell what calls may raise."""
    try:
        import grpc
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise EngineMissing(
            f"expected pymilvus for the index kind milvus, got: {error}; the extra 'milvus' "
            "installs it"
        ) from error
    # Each of its errors is one of ours; its own lines are whole tracebacks, one a request.
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
