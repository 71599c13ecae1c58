"""What the compose file and the Dockerfile say, read for the tests that hold them to it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from service.settings import PREFIX

ROOT = Path(__file__).parents[1]
SERVICES = ("cpu", "gpu")
REPLICAS = ("api-1", "api-2")
PROFILES = {
    "gpu": {"gpu"},
    "cluster": {"gateway", "api-1", "api-2", "postgres", "milvus"},
    "monitoring": {"prometheus", "grafana"},
}
EVERYTHING = ("cpu", *(name for names in PROFILES.values() for name in sorted(names)))
# The command that reads compose files here, Compose v1 or v2; None where there is none.
COMPOSE = next(
    (
        command
        for command in (["docker-compose"], ["docker", "compose"])
        if shutil.which(command[0])
        and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
    ),
    None,
)


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
