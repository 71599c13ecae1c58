"""Spreads the embedding work of a rebuild over a Ray cluster, or over processes of this machine.

Workers receive the model as bytes, so no shared disk is needed, and see only walks: the rebuilding
process alone reads and writes the store. Ray restarts a worker that dies and repeats its work.
Batches come back in the order in which they were sent, and only as many are under way as the
workers can take.

Ray passes objects between its processes as pickles, unencrypted and unauthenticated, so the cluster
must be one's own. Everything that knows about Ray is in this module.
"""

import os
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gallery.embedding import Batch, WalkEncoder
from gallery.errors import RebuildFailed, RebuildRefused

LOCAL = "local"
"""Used in place of an address: processes of this machine, which end with the rebuild."""

Opener = Callable[[Path], WalkEncoder]
"""Opens a model file on a worker, where everything it refers to must be importable."""

# Batches per worker: one in work and one queued.
_IN_HAND = 2
# How often a batch is retried when its worker dies, before the batch itself is blamed.
_AGAIN = 3
_START_S = 120.0
_KNOCK_S = 10.0


class Worker:
    """Embeds walks with a model received as bytes; runs in one of Ray's processes."""

    def __init__(self, model: bytes, digest: str, opener: Opener) -> None:
        """Open the model.

        Raises:
            RebuildFailed: the bytes received differ from those sent.

        """
        if (got := sha256(model).hexdigest()) != digest:
            raise RebuildFailed(f"expected a model file of sha256 {digest}, got {got}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(model)
            self._encoder = opener(path)

    def model_id(self) -> str:
        """Return the id of the model that it opened."""
        return self._encoder.facts.model_id

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, L]`."""
        # Ray passes read-only arrays, which not every engine accepts.
        return self._encoder.encode([np.array(walk) for walk in walks])


class RayWorkers:
    """A `Spread` over Ray: the workers of one model, from opening to closing."""

    def __init__(
        self,
        model: Path,
        opener: Opener,
        *,
        model_id: str,
        address: str = LOCAL,
        workers: int | None = None,
        threads: int = 1,
    ) -> None:
        """Start workers and wait until each has opened the model.

        Args:
            model: the ONNX file; its bytes are sent.
            opener: opens it on a worker.
            model_id: the id that each worker must find in it.
            address: of a running cluster, as `ray start` prints it, or `local`.
            workers: how many; None: as many as the CPUs allow.
            threads: CPUs that each one keeps busy.

        Raises:
            RebuildRefused: Ray is not installed, no cluster answers at the address, or `workers` or
                `threads` is below 1.
            RebuildFailed: not every worker opened the model.

        """
        for number in (threads, 1 if workers is None else workers):
            if number < 1:
                raise RebuildRefused(f"expected workers and threads of 1 or more, got {number}")
        self._ray = _ray(address)
        _connect(self._ray, address, None if workers is None else workers * threads)
        try:
            cpus = self._ray.cluster_resources().get("CPU", 1)
            count = workers or max(1, int(cpus) // threads)
            content = model.read_bytes()
            # Keep a reference: a restarted worker opens it again.
            self._sent = self._ray.put(content)
            # Ray restarts dead workers wherever there is room, without limit.
            kind = self._ray.remote(num_cpus=threads, max_restarts=-1, max_task_retries=_AGAIN)
            make = kind(Worker).remote
            digest = sha256(content).hexdigest()
            self._workers = [make(self._sent, digest, opener) for _ in range(count)]
            self._require(model_id)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def workers(self) -> int:
        """Return the number of workers."""
        return len(self._workers)

    def close(self) -> None:
        """End the workers, and any part of Ray that this process started."""
        self._ray.shutdown()

    def encode_each(self, batches: Iterator[Batch]) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
        """Embed batches, one worker each; yield each with its float32 `[N, L]`, in their order.

        Raises:
            RebuildFailed: a worker raised an error, or workers kept dying on the same batch.

        """
        free = deque(self._workers * _IN_HAND)
        most = 2 * len(free)
        at: dict[Any, Any] = {}
        out: deque[tuple[Batch, Any]] = deque()
        for batch in batches:
            while not free or len(out) == most:
                self._wait(at, free)
                while out and out[0][1] not in at:
                    yield self._taken(*out.popleft())
            worker = free.popleft()
            sent = worker.encode.remote(batch.walks)
            at[sent] = worker
            out.append((batch, sent))
        while out:
            yield self._taken(*out.popleft())

    def _wait(self, at: dict[Any, Any], free: deque[Any]) -> None:
        """Wait until a batch is done, and mark a slot of its worker as free."""
        done, _ = self._ray.wait(list(at), num_returns=1)
        for one in done:
            free.append(at.pop(one))

    def _taken(self, batch: Batch, sent: Any) -> tuple[Batch, NDArray[np.float32]]:
        try:
            return batch, self._ray.get(sent)
        except self._ray.exceptions.RayActorError as error:
            raise RebuildFailed(
                f"expected a worker to embed samples {_rows(batch)}, got {_AGAIN + 1} that died"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise RebuildFailed(
                f"expected a worker to embed samples {_rows(batch)}, got: {_cause(error)}"
            ) from error

    def _require(self, model_id: str) -> None:
        asked = [worker.model_id.remote() for worker in self._workers]
        done, late = self._ray.wait(asked, num_returns=len(asked), timeout=_START_S)
        try:
            found = set(self._ray.get(done))
        except self._ray.exceptions.RayError as error:
            raise RebuildFailed(
                f"expected every worker to open the model, got: {_cause(error)}"
            ) from error
        if late:
            raise RebuildFailed(
                f"expected {len(asked)} workers within {_START_S:.0f} s, got {len(done)}: the "
                "cluster has too few free CPUs"
            )
        if found != {model_id}:
            raise RebuildFailed(f"expected workers with the model {model_id}, got {found}")


def _ray(address: str) -> Any:
    # Disable Ray's usage reports, which would tell others about rebuilds.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        # Ray reads this on import. With clusters disabled, on any system, it listens on loopback
        # only. Passing `init` a node address does not help: it takes a loopback address for none.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise RebuildRefused(
            f"expected Ray to spread a rebuild, got: {error}; the extra 'ray' installs it"
        ) from error
    return ray


def _connect(ray: Any, address: str, cpus: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        _knock(address)
        if address == LOCAL:
            started = ray.init(address=LOCAL, num_cpus=cpus, include_dashboard=False, **quiet)
            _require_loopback(started.address_info["node_ip_address"])
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # a node that starts too slowly raises nothing narrower
        with suppress(Exception):
            ray.shutdown()
        raise RebuildRefused(f"expected a Ray cluster at {address}, got: {error}") from error


def _require_loopback(address: str) -> None:
    """Refuse a local Ray that others can reach: it unpickles and runs whatever it is sent."""
    if not ip_address(address).is_loopback:
        raise RuntimeError(f"one of this machine that listens at {address}, for others as well")


def _knock(address: str) -> None:
    """Fail at once if nothing listens at the address; Ray itself would take minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _cause(error: Exception) -> str:
    """Describe an error on a worker without the traceback that Ray wraps around it."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[-1] if str(cause) else ''}"


def _rows(batch: Batch) -> str:
    return ", ".join(map(str, batch.rows))
