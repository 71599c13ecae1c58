"""The work of a rebuild spread over a Ray cluster, or over processes of this machine.

Workers open the model from its bytes, so that no disk is shared, and see walks and nothing else:
the store is read and written by the process that rebuilds. A worker that dies is started again by
Ray, and what it had in work is done again. Batches come back in the order in which they went out,
and no more of them are on the way than the workers can have in hand.

Ray passes objects between its processes as pickles, unencrypted and unauthenticated: its cluster
has to be one's own. Everything that knows Ray is here.
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
"""In the place of an address: processes of this machine, which end with the rebuild."""

Opener = Callable[[Path], WalkEncoder]
"""Opens a model file on a worker; what it is made of can be imported there."""

# One batch in work and one at hand.
_IN_HAND = 2
# How often a batch is begun again whose worker died, before the batch is to blame.
_AGAIN = 3
_START_S = 120.0
_KNOCK_S = 10.0


class Worker:
    """Embeds walks with a model that came as bytes; it lives in a process of Ray's."""

    def __init__(self, model: bytes, digest: str, opener: Opener) -> None:
        """Open the model.

        Raises:
            RebuildFailed: other bytes came than were sent.

        """
        if (got := sha256(model).hexdigest()) != digest:
            raise RebuildFailed(f"expected a model file of sha256 {digest}, got {got}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(model)
            self._encoder = opener(path)

    def model_id(self) -> str:
        """Tell which model it opened."""
        return self._encoder.facts.model_id

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, L]`."""
        # Ray hands out arrays that must not be written to; not every engine takes those.
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
            model_id: what each worker has to find in it.
            address: of a running cluster, as `ray start` prints it, or `local`.
            workers: how many; None: as many as the CPUs allow.
            threads: CPUs that each keeps busy.

        Raises:
            RebuildRefused: Ray is not installed, no cluster answers at the address, or workers or
                threads are fewer than one.
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
            # Kept: a worker that is started again opens it again.
            self._sent = self._ray.put(content)
            # Ray starts what died again wherever there is room, as often as machines are lost.
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
        """How many there are."""
        return len(self._workers)

    def close(self) -> None:
        """End the workers, and what of Ray this process started."""
        self._ray.shutdown()

    def encode_each(self, batches: Iterator[Batch]) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
        """Embed batches, each on one worker; gives each with float32 `[N, L]`, in their order.

        Raises:
            RebuildFailed: a worker raised an error, or died at the same batch each time.

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
        """Wait until a batch is done, and note that its worker has a hand free."""
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
    # Nothing is told to anybody of who rebuilds what where.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        # Read when Ray is imported. Without clusters, on whatever system, it listens on loopback
        # alone; the address that `init` can be told is no use, it takes a loopback one for none.
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
    except Exception as error:  # nothing narrower is what Ray raises when a node starts too slowly
        with suppress(Exception):
            ray.shutdown()
        raise RebuildRefused(f"expected a Ray cluster at {address}, got: {error}") from error


def _require_loopback(address: str) -> None:
    """Refuse a local Ray that others can reach: what it is sent, it unpickles and runs."""
    if not ip_address(address).is_loopback:
        raise RuntimeError(f"one of this machine that listens at {address}, for others as well")


def _knock(address: str) -> None:
    """Find out at once that nobody listens there, for which Ray takes minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _cause(error: Exception) -> str:
    """Say what went wrong on the worker, without the traceback that Ray wraps it in."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[-1] if str(cause) else ''}"


def _rows(batch: Batch) -> str:
    return ", ".join(map(str, batch.rows))
