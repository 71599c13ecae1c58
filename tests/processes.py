"""Command lines of single commands, and the real server process with the fake encoder."""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from service.client import Client
from service.errors import RefusedError, UnreachableError


def arguments(module: object, *given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.configure(parser)  # type: ignore[attr-defined]
    return parser.parse_args(given)


# A server process with the fake encoder: what `metagait serve` does after opening its model.
SERVER = """
import sys
from pathlib import Path
from tests.fakes import FakeEncoder
from service import app, serve
serve.open_encoder = lambda settings: FakeEncoder()
arguments = __import__("argparse").Namespace(
    host="127.0.0.1", port=int(sys.argv[1]), data=Path(sys.argv[2]), model=None)
sys.exit(serve.run(arguments))
"""


@contextmanager
def server_process(
    data: Path, environment: Mapping[str, str] | None = None, stderr: int = subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port), str(data)],
        cwd=Path(__file__).parent.parent, stderr=stderr,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def wait_until_ready(client: Client) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            client.ready()
        except (UnreachableError, RefusedError):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
