"""The compose file: what each container may do, held against the image and the settings."""

import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from service.serve import CLOSING_S
from service.settings import PREFIX, Settings
from tests.deployment import (
    COMPOSE,
    EVERYTHING,
    PROFILES,
    REPLICAS,
    ROOT,
    SERVICES,
    argument,
    compose,
    image_environment,
    last_stage,
    metagait_settings,
)

# What docker-compose 1.29 and the builder without BuildKit do not know.
TOO_NEW_AT_TOP = {"name", "include"}
TOO_NEW_IN_SERVICE = {"gpus", "develop", "attach"}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][request.param]
    return found


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
