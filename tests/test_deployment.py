"""The image and the compose file: what they promise, held against the settings and the package."""

import re
import shutil
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
from pydantic import SecretStr

from service.errors import SettingsError
from service.serve import CLOSING_S, KEEP_ALIVE_S
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
HEALTHCHECK = ROOT / "docker" / "healthcheck.py"
SERVICES = ("cpu", "gpu")
REPLICAS = ("api-1", "api-2")
PROFILES = {
    "gpu": {"gpu"},
    "cluster": {"gateway", "api-1", "api-2", "postgres", "milvus"},
    "monitoring": {"prometheus", "grafana"},
}
EVERYTHING = ("cpu", *(name for names in PROFILES.values() for name in sorted(names)))
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
    assert set(services) == set(EVERYTHING)
    assert "profiles" not in services["cpu"]
    for profile, names in PROFILES.items():
        assert {name for name, one in services.items() if one.get("profiles") == [profile]} == names


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_container_may_do_more_than_it_must(name: str) -> None:
    container = compose()["services"][name]
    user, _ = container["user"].split(":")
    assert int(user) > 0
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not container.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc"}


@pytest.mark.parametrize("name", EVERYTHING)
def test_nothing_is_published_beyond_the_loopback(name: str) -> None:
    published = compose()["services"][name].get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert bool(published) == (name not in {*REPLICAS, "postgres", "milvus"})


@pytest.mark.parametrize("name", EVERYTHING)
def test_secrets_are_files_and_no_value_stands_in_the_environment(name: str) -> None:
    container = compose()["services"][name]
    for secret in container.get("secrets", []):
        assert compose()["secrets"][secret] == {"file": f"docker/secrets/{secret}"}
    for variable, value in container.get("environment", {}).items():
        if re.search("PASSWORD|SECRET|TOKEN|DATABASE", variable):
            assert variable.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in container["secrets"]
    ignored = (ROOT / "docker" / "secrets" / ".gitignore").read_text(encoding="utf-8")
    assert "*" in ignored.splitlines()


@pytest.mark.parametrize("name", [*SERVICES, *REPLICAS])
def test_the_service_runs_as_its_image_says_and_has_room_for_its_bodies(name: str) -> None:
    container = compose()["services"][name]
    assert container["user"] == argument("USER", last_stage())
    (place,) = container["tmpfs"]
    path, options = place.split(":")
    assert path == "/tmp"
    room_mb = int(re.findall(r"size=(\d+)m", options)[0])
    assert room_mb > Settings.model_fields["upload_budget_mb"].default


def test_a_service_is_published_where_it_listens(service: dict[str, Any]) -> None:
    (published,) = service["ports"]
    inside = published.split(":")[-1]
    assert inside == image_environment()["METAGAIT_PORT"] == argument("EXPOSE", last_stage())


def test_only_the_gallery_is_kept(service: dict[str, Any]) -> None:
    (volume,) = service["volumes"]
    name, place = volume.split(":")
    assert name in compose()["volumes"]
    assert place == image_environment()["METAGAIT_DATA"]
    assert any(place in arguments for name, arguments in last_stage() if name == "RUN")


def test_a_service_has_the_time_to_finish_its_walks(service: dict[str, Any]) -> None:
    patience_s = int(service["stop_grace_period"].removesuffix("s"))
    fields = Settings.model_fields
    needs_s = fields["shutdown_grace_s"].default + fields["drain_timeout_s"].default + CLOSING_S
    assert patience_s > needs_s


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


def test_compose_stays_readable_for_version_1_29() -> None:
    assert not compose().keys() & TOO_NEW_AT_TOP
    for container in compose()["services"].values():
        assert not container.keys() & TOO_NEW_IN_SERVICE


def test_what_is_mounted_from_here_is_here() -> None:
    for container in compose()["services"].values():
        for volume in container.get("volumes", []):
            source = volume.split(":")[0]
            where = ROOT / source
            assert where.exists() if source.startswith("./") else source in compose()["volumes"]


def test_two_replicas_share_one_database_and_start_one_after_the_other() -> None:
    first, second = (compose()["services"][name] for name in REPLICAS)
    assert first["image"] == second["image"]
    assert first["build"]["args"]["EXTRA"] == "cpu,postgres,milvus"
    assert first["environment"] == second["environment"]
    healthy = {"condition": "service_healthy"}
    assert first["depends_on"] == {"postgres": healthy, "milvus": healthy}
    assert second["depends_on"] == {"api-1": {"condition": "service_healthy"}}
    settings = Settings(**metagait_settings(image_environment() | first["environment"]))  # type: ignore[arg-type]
    assert settings.database_file == Path("/run/secrets/database-url")


def test_the_replicas_search_in_milvus_which_nobody_else_reaches() -> None:
    everything = compose()
    services = everything["services"]
    on_its_network = {n for n, one in services.items() if "vectors" in one.get("networks", [])}
    assert on_its_network == {*REPLICAS, "milvus"}
    assert services["milvus"]["networks"] == ["vectors"]
    assert everything["networks"] == {"vectors": {"internal": True}}
    for name in REPLICAS:
        # The gateway and PostgreSQL are on the default network.
        assert "default" in services[name]["networks"]
        choice = Settings(**metagait_settings(services[name]["environment"])).index_choice()  # type: ignore[arg-type]
        assert (choice.kind, choice.milvus_url) == ("milvus", "http://milvus:19530")
        assert choice.milvus_type == "FLAT"


def test_milvus_keeps_everything_in_its_volume_and_its_etcd_to_itself() -> None:
    milvus = compose()["services"]["milvus"]
    kept, etcd = (volume.split(":") for volume in milvus["volumes"])
    environment = milvus["environment"]
    assert environment["COMMON_STORAGETYPE"] == "local"
    assert environment["ETCD_USE_EMBED"] == "true"
    assert environment["ETCD_DATA_DIR"].startswith(f"{kept[1]}/")
    assert environment["ETCD_CONFIG_PATH"] == etcd[1]
    assert etcd[2] == "ro"
    listening = yaml.safe_load((ROOT / etcd[0]).read_text(encoding="utf-8"))
    urls = [value for name, value in listening.items() if name.endswith("-urls")]
    assert urls
    assert all(url.startswith("http://127.0.0.1:") for url in urls)
    uid, gid = milvus["user"].split(":")
    assert f"/run/milvus:uid={uid},gid={gid}" in milvus["tmpfs"]


def test_the_database_url_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "database-url"
    file.write_text("postgresql://metagait:secret@postgres/metagait\n", encoding="utf-8")
    assert Settings(database_file=file).store() == "postgresql://metagait:secret@postgres/metagait"
    with pytest.raises(SettingsError, match="expected a database URL in"):
        Settings(database_file=tmp_path / "none").store()
    with pytest.raises(SettingsError, match="got both"):
        Settings(database_file=file, database=SecretStr("sqlite://")).store()


def test_the_gateway_spreads_over_the_replicas_and_keeps_the_service_s_rules() -> None:
    gateway, text = compose()["services"]["gateway"], (ROOT / "docker/nginx.conf").read_text()
    assert (
        set(re.findall(r"server ([\w-]+):8000", text))
        == set(REPLICAS)
        == set(gateway["depends_on"])
    )
    (port,) = re.findall(r"listen (\d+);", text)
    assert gateway["ports"][0].endswith(f":{port}")
    assert f"client_max_body_size {Settings.model_fields['max_upload_mb'].default}m;" in text
    assert "proxy_set_header Host $http_host;" in text
    assert "proxy_request_buffering off;" in text
    assert "non_idempotent" not in text
    assert "access_log off;" in text
    (idle_s,) = re.findall(r"keepalive_timeout (\d+)s;", text)
    assert int(idle_s) < KEEP_ALIVE_S


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here to check its file with")
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    text = (ROOT / "docker/nginx.conf").read_text()
    for replica in REPLICAS:
        text = text.replace(f"server {replica}:", "server 127.0.0.1:")
    file = tmp_path / "nginx.conf"
    file.write_text(text.replace("/tmp/", f"{tmp_path}/"))
    done = subprocess.run(
        ["nginx", "-t", "-c", str(file), "-e", str(tmp_path / "log"), "-p", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_prometheus_scrapes_every_service_and_grafana_finds_what_is_shown() -> None:
    prometheus = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    (names,) = [found["names"] for found in job["dns_sd_configs"]]
    assert set(names) == {*SERVICES, *REPLICAS}
    mounted = [v.split(":")[1] for v in compose()["services"]["grafana"]["volumes"]]
    provided = yaml.safe_load(
        (ROOT / "docker/grafana/provisioning/dashboards/metagait.yml").read_text()
    )
    assert provided["providers"][0]["options"]["path"] in mounted
    sources = yaml.safe_load(
        (ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    assert f'"uid": "{sources["datasources"][0]["uid"]}"' in (
        ROOT / "docker/grafana/dashboards/metagait.json"
    ).read_text(encoding="utf-8")
    key = job["authorization"]["credentials_file"].removeprefix("/run/secrets/")
    assert key in compose()["services"]["prometheus"]["secrets"]


COMPOSE = next(
    (
        command
        for command in (["docker-compose"], ["docker", "compose"])
        if shutil.which(command[0])
        and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
    ),
    None,
)


@pytest.mark.skipif(COMPOSE is None, reason="no docker-compose here to read the file with")
@pytest.mark.parametrize("profile", PROFILES)
def test_compose_takes_every_profile(profile: str) -> None:
    assert COMPOSE is not None
    done = subprocess.run(
        [*COMPOSE, "--profile", profile, "config", "--services"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {"cpu", *PROFILES[profile]}


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
