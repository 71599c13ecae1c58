"""Shared by the service benchmarks: a server process on loopback, walks, and callers.

Callers do as little work as possible (prepared bytes over `http.client`), because their processor
time is taken from the service that they measure.
"""

import http.client
import io
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from service import packed
from service.routes.page import WEB

START_S = 180
STOP_S = 120


def shipped_walk(frames: int, file: str = "ada-nm-01.npz") -> NDArray[np.uint8]:
    """Return a sample walk of the web page as masks uint8 `[frames, H, W]`, repeated to length."""
    with np.load(WEB / "samples" / file, allow_pickle=False) as held:
        walk = held["silhouettes"].astype(np.uint8) * np.uint8(255)
    return np.resize(walk, (frames, *walk.shape[1:]))


def as_npy(walk: NDArray[np.uint8]) -> bytes:
    """Return a walk as a `.npy` file."""
    file = io.BytesIO()
    np.save(file, walk, allow_pickle=False)
    return file.getvalue()


def as_zip(walk: NDArray[np.uint8]) -> bytes:
    """Return a walk as a ZIP of PNG frames."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for position, frame in enumerate(walk):
            archive.writestr(f"{position:04d}.png", cv2.imencode(".png", frame)[1].tobytes())
    return file.getvalue()


@dataclass(frozen=True)
class Request:
    """A request whose bytes are prepared before any timing."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def upload(cls, path: str, walk: bytes, **fields: str) -> "Request":
        """Return a multipart upload of a walk and text fields."""
        boundary = uuid.uuid4().hex
        text = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="sequence"; filename="walk"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = text.encode() + head.encode() + walk + f"\r\n--{boundary}--\r\n".encode()
        return cls(
            "POST", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        )


def identify(walk: bytes) -> Request:
    """Return the usual request to identify a walk: packed as the whole body, others in a form."""
    if walk.startswith(packed.MAGIC):
        return Request("POST", "/identify", walk, {"Content-Type": packed.MEDIA_TYPE})
    return Request.upload("/identify", walk)


class Connection:
    """One persistent connection to a server on this machine."""

    def __init__(self, port: int, timeout_s: float = 600) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def send(self, request: Request) -> tuple[int, bytes]:
        """Send a request; return its status and body."""
        self._http.request(request.method, request.path, request.body, dict(request.headers))
        answer = self._http.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


@dataclass
class Server:
    """A separate `metagait serve` process, on a free loopback port."""

    data: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "metagait", "serve", "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--data", str(self.data)],
            env={**os.environ, **self.environment},
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._is_ready, START_S, "a ready service")

    def stop(self) -> int:
        """Stop it as an operator would; return its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=STOP_S)

    def memory_mib(self) -> float:
        """Return the resident memory of the process, in MiB."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024

    def processor_s(self) -> float:
        """Return the processor time used by the process, in seconds."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"expected the service to start, it ended: {self.process.poll()}")
        try:
            return Connection(self.port, 10).send(Request("GET", "/readyz"))[0] == 200
        except OSError:
            return False


@contextmanager
def serving(data: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run a server, and stop it afterwards."""
    server = Server(data, environment or {})
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {what} within {seconds:g} s")
        time.sleep(0.1)


def together(count: int, act: Callable[[int], None]) -> None:
    """Run `act(0 .. count-1)` in as many threads; then raise the first error of any."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            act(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
