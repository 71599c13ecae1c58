"""schemathesis, every check and with a key of every scope, against `metagait serve` itself.

    python -m tests.conformance                     what `make conformance` runs
    python -m tests.conformance --phases coverage   whatever follows goes to schemathesis

Starts the service with the shipped weights on a free loopback port and an empty folder, lets it
make its first key, runs schemathesis as docs/schemathesis.toml says, and stops the service. The
status is that of schemathesis; 1 as well when the service does not end with 0 at SIGTERM.
"""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.client import Client
from tests.processes import wait_until_ready

ROOT = Path(__file__).parent.parent
SERVE = (sys.executable, "-m", "metagait", "serve")
STOP_S = 120


@dataclass(frozen=True)
class Running:
    """A service in a process of its own, and a key that may do everything."""

    process: "subprocess.Popen[bytes]"
    url: str
    key: str


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """Run `metagait serve` with a first key; killed on leaving unless it ended."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    key_file = folder / "key"
    environment = {"METAGAIT_FIRST_KEY_FILE": str(key_file)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*SERVE, "--port", str(port), "--data", str(folder / "data")],
            cwd=ROOT, stderr=log, env={**os.environ, **environment},
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        with Client(url) as client:
            wait_until_ready(client)
        yield Running(process, url, key_file.read_text(encoding="utf-8").strip())
    finally:
        process.kill()
        process.wait()


def schemathesis(service: Running, arguments: Sequence[str]) -> int:
    """Run schemathesis over the service; its status."""
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", "docs/schemathesis.toml", "run", "docs/openapi.json"]
    command += ["--url", service.url, "--header", f"Authorization: Bearer {service.key}"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.conformance_walks"}
    return subprocess.run([*command, *arguments], cwd=ROOT, check=False, env=environment).returncode


def main(arguments: Sequence[str]) -> int:
    """Run the whole; 0 when nothing was found."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as service:
        status = schemathesis(service, arguments)
        service.process.terminate()
        ended = service.process.wait(timeout=STOP_S)
        if ended != 0:
            print(f"expected the service to end with 0, got {ended}", file=sys.stderr)
    return status or min(1, abs(ended))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
