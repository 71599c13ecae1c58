"""The image: what it is made of, who it runs as, and when it calls itself healthy."""

import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.deployment import ROOT, argument, instructions, last_stage

HEALTHCHECK = ROOT / "docker" / "healthcheck.py"


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server on a free port that answers `/readyz` with `status` and anything else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def check_health(port: int) -> subprocess.CompletedProcess[str]:
    # A proxy that nobody runs: the check has to go past it.
    environment = {"METAGAIT_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-I", str(HEALTHCHECK)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_the_base_can_be_exchanged() -> None:
    first, second = instructions()[:2]
    assert first == ("ARG", "BASE=python:3.11-slim")
    assert second == ("FROM", "${BASE} AS base")
    stages = {"base", "build"}
    later = [arguments.split()[0] for name, arguments in instructions()[2:] if name == "FROM"]
    assert set(later) <= stages


def test_the_image_does_not_run_as_root() -> None:
    user, group = argument("USER", last_stage()).split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_the_image_keeps_no_build_tools() -> None:
    ran = " ".join(arguments for name, arguments in last_stage() if name == "RUN")
    assert not re.search(r"\b(pip|apt-get)\b", ran)
    built = " ".join(arguments for name, arguments in instructions() if name == "RUN")
    assert "-c constraints.txt" in built
    assert "uninstall --yes setuptools pip" in built


def test_the_image_needs_no_buildkit() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "# syntax" not in text
    for name, arguments in instructions():
        assert not re.search(r"--(mount|chmod|link|exclude|network|security)\b|<<", arguments), name


def test_the_build_sees_the_package_and_nothing_else() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = package["tool"]["setuptools"]
    needed = {"pyproject.toml", "constraints.txt", "docker/healthcheck.py"}
    needed |= {package["project"]["readme"], *package["project"]["license-files"]}
    needed |= {f"{module}.py" for module in parts["py-modules"]}
    needed |= {name.split(".")[0] for name in parts["packages"]}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert {line[1:] for line in patterns if line.startswith("!")} == needed


def test_the_health_check_passes_when_the_service_is_ready() -> None:
    with answering(200) as port:
        assert check_health(port).returncode == 0


def test_the_health_check_fails_when_the_service_is_not_ready() -> None:
    with answering(503) as port:
        assert check_health(port).returncode == 1


def test_the_health_check_fails_when_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = check_health(port)
    assert result.returncode == 1
    assert result.stderr.startswith(f"expected an answer on port {port}")
