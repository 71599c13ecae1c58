"""The image and the compose file: what they promise, held against the settings and the package."""

import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
HEALTHCHECK = ROOT / "docker" / "healthcheck.py"
SERVICES = ("cpu", "gpu")
# What docker-compose 1.29 and the builder without BuildKit do not know.
TOO_NEW_AT_TOP = {"name", "include"}
TOO_NEW_IN_SERVICE = {"gpus", "develop", "attach"}


def filled(text: str) -> str:
    """The text with every `${NAME:-default}` at its default, as with an empty environment."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def compose() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    parsed: dict[str, Any] = yaml.safe_load(filled(text))
    return parsed


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), continued lines joined."""
    lines = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    """The instructions that make what ships, without those of the stages that only build."""
    everything = instructions()
    start = max(place for place, (name, _) in enumerate(everything) if name == "FROM")
    return everything[start:]


def argument(name: str, of: list[tuple[str, str]]) -> str:
    (value,) = [arguments for instruction, arguments in of if instruction == name]
    return value


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in argument("ENV", last_stage()).split())


def metagait_settings(environment: dict[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][request.param]
    return found


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


def test_only_the_cpu_service_starts_by_default() -> None:
    services = compose()["services"]
    assert set(services) == set(SERVICES)
    assert "profiles" not in services["cpu"]
    assert services["gpu"]["profiles"] == ["gpu"]


def test_a_service_may_do_no_more_than_it_must(service: dict[str, Any]) -> None:
    assert service["user"] == argument("USER", last_stage())
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [place.split(":")[0] for place in service["tmpfs"]] == ["/tmp"]
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc"}


def test_a_service_is_published_on_the_loopback_only(service: dict[str, Any]) -> None:
    (published,) = service["ports"]
    address, _, inside = published.split(":")
    assert address == "127.0.0.1"
    assert inside == image_environment()["METAGAIT_PORT"] == argument("EXPOSE", last_stage())


def test_only_the_gallery_is_kept(service: dict[str, Any]) -> None:
    (volume,) = service["volumes"]
    name, place = volume.split(":")
    assert name in compose()["volumes"]
    assert place == image_environment()["METAGAIT_DATA"]
    assert any(place in arguments for name, arguments in last_stage() if name == "RUN")


def test_a_service_has_the_time_to_finish_its_walks(service: dict[str, Any]) -> None:
    grace_s = int(service["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings.model_fields["drain_timeout_s"].default


def test_compose_and_image_check_health_alike(service: dict[str, Any]) -> None:
    check = service["healthcheck"]
    flags, command = argument("HEALTHCHECK", last_stage()).split("CMD")
    assert check["test"] == ["CMD", *yaml.safe_load(command)]
    for name in ("interval", "timeout", "start_period", "retries"):
        assert f"--{name.replace('_', '-')}={check[name]}" in flags.split()
    copied = [arguments.split() for name, arguments in last_stage() if name == "COPY"]
    assert ["docker/healthcheck.py", check["test"][-1]] in copied


def test_the_gpu_service_asks_for_a_gpu_and_accepts_nothing_less() -> None:
    gpu = compose()["services"]["gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert gpu["environment"]["METAGAIT_PROVIDER"] == "cuda"


def test_each_service_installs_its_own_extra() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = package["project"]["optional-dependencies"]
    for name in SERVICES:
        build = compose()["services"][name]["build"]
        assert build["args"]["EXTRA"] == name
        assert name in extras
        assert (ROOT / build["context"] / build["dockerfile"]).is_file()


def test_what_is_set_are_settings(service: dict[str, Any]) -> None:
    environment = image_environment() | service["environment"]
    settings = Settings(**metagait_settings(environment))  # type: ignore[arg-type]
    assert settings.host == "0.0.0.0"
    assert settings.provider == service["environment"]["METAGAIT_PROVIDER"]


@pytest.mark.parametrize(
    "path",
    ["docker-compose.yml", "docker/Dockerfile", "docker/healthcheck.py", "docs/deploy.md"],
)
def test_every_name_with_the_prefix_is_a_setting(path: str) -> None:
    # One name that is none, and the service refuses to start.
    named = set(re.findall(rf"{PREFIX}\w+", (ROOT / path).read_text(encoding="utf-8")))
    assert named
    assert named <= {PREFIX + name.upper() for name in Settings.model_fields}


def test_compose_stays_readable_for_version_1_29(service: dict[str, Any]) -> None:
    assert not compose().keys() & TOO_NEW_AT_TOP
    assert not service.keys() & TOO_NEW_IN_SERVICE


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
