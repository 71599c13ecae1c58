"""Milvus servers of our own: the real one from PyPI's package `milvus`, and Milvus Lite's.

The real one is a program, `milvus-server`, of a virtual environment of its own
(tests/standins/README.md); `TEST_MILVUS_SERVER` names it where it is not on the PATH, and
`TEST_MILVUS_URL` names a server that runs already, which is then neither stopped nor started.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tests.waiting import free_port, wait_until

# What a test waits for a server on a busy machine.
PATIENCE_S = 600


class NoMilvusError(Exception):
    """There is no program of a server."""


class MilvusServer:
    """A server that can be killed and started again with what it had on its disk."""

    def __init__(
        self, url: str, command: list[str], folder: Path, *, is_lite: bool = False
    ) -> None:
        self.url = url
        self.is_lite = is_lite
        self._command = command
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it may be killed."""
        return bool(self._command)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        if not self.is_ours:
            return
        # The program of the package takes another port where this one still has connections of
        # before; they go within a minute. Milvus Lite takes it all the same.
        if not self.is_lite:
            wait_until(self._port_is_free, PATIENCE_S)
        with (self.folder / "log").open("ab") as log:
            # Its own group: the program of the package starts the server as a child.
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, PATIENCE_S)

    def kill(self) -> None:
        """End it without a word."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """End it, if it is ours."""
        if self._process is not None:
            self._signal(signal.SIGKILL)

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, which)
        self._process.wait(timeout=PATIENCE_S)

    def _port_is_free(self) -> bool:
        with socket.socket() as tried:
            try:
                tried.bind(("", int(self.url.rpartition(":")[2])))
            except OSError:
                return False
        return True

    def _answers(self) -> bool:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException

        if self._process is None or self._process.poll() is not None:
            raise NoMilvusError(f"it ended: {(self.folder / 'log').read_text()[-500:]}")
        try:
            client = MilvusClient(self.url, timeout=5)
            client.list_collections(timeout=5)
            client.close()
        except MilvusException:
            return False
        return True


def lite(folder: Path) -> MilvusServer:
    """Milvus Lite's server, which speaks the protocol."""
    port = free_port()
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    return MilvusServer(f"http://127.0.0.1:{port}", command, folder, is_lite=True)


def real(folder: Path) -> MilvusServer:
    """Milvus itself, in one process.

    Raises:
        NoMilvusError: there is no program of it.

    """
    if url := os.environ.get("TEST_MILVUS_URL"):
        return MilvusServer(url, [], folder)
    program = shutil.which(os.environ.get("TEST_MILVUS_SERVER", "milvus-server"))
    if program is None:
        raise NoMilvusError("no program `milvus-server`: tests/standins/README.md")
    port = free_port()
    command = [program, "--data", str(folder), "--proxy-port", str(port)]
    return MilvusServer(f"http://127.0.0.1:{port}", command, folder)


class Relay:
    """Passes bytes on to a server, or takes them and says nothing while it is told to.

    Of the first connection it passes on `first_bytes` at most, and then ends it.
    """

    def __init__(self, url: str, first_bytes: int | None = None) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._to = (host, int(port))
        self._left = first_bytes
        self._passes = threading.Event()
        self._passes.set()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def hold(self) -> None:
        """Pass nothing on from now."""
        self._passes.clear()

    def release(self) -> None:
        """Pass on what was held, and what comes."""
        self._passes.set()

    def close(self) -> None:
        """Take no more connections."""
        self.release()
        self._door.close()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.create_connection(self._to)
                left, self._left = self._left, None
                for one, other, most in ((near, far, left), (far, near, None)):
                    args = (one, other, most)
                    threading.Thread(target=self._pass, args=args, daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, most: int | None) -> None:
        with suppress(OSError), one, other:
            passed = 0
            while taken := one.recv(65_536):
                self._passes.wait()
                passed += len(taken)
                if most is not None and passed > most:
                    for end in (one, other):
                        end.shutdown(socket.SHUT_RDWR)
                other.sendall(taken)
