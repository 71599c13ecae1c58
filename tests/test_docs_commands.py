"""What the documents tell people to type exists: subcommands, their options, settings, figures."""

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from metagait import COMMANDS
from service.settings import PREFIX, Settings
from tests.caller import Caller

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def code_in(path: Path) -> Iterator[str]:
    """Each line of a fenced block, continued lines joined, and each piece of code in a sentence."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    fence = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    for block in fence.findall(text):
        yield from (line.partition(" # ")[0] for line in block.splitlines())
    yield from re.findall(r"`([^`]+)`", fence.sub("", text))


def commands_in(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Each `metagait NAME` with the options that stand beside it."""
    for code in code_in(path):
        for name, rest in re.findall(r"(?:^|[\s/'])metagait ([a-z][\w-]*)([^|;>]*)", code):
            yield name, set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest))


def options_of(name: str) -> set[str]:
    """Every long option of a subcommand and of the subcommands below it."""
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[name][0]).configure(parser)
    return set(_options(parser))


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _options(below)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_and_option_in_a_document_exists(path: Path) -> None:
    for name, options in commands_in(path):
        assert name in COMMANDS, f"metagait {name}"
        missing = options - options_of(name) if options else set()
        assert not missing, f"metagait {name} {missing}"


def test_commands_are_found_where_they_stand() -> None:
    found = {name for path in DOCUMENTS for name, _ in commands_in(path)}
    assert found >= {"serve", "keys", "rebuild", "calibrate", "backup", "restore", "evaluate"}
    assert any("--scopes" in options for path in DOCUMENTS for _, options in commands_in(path))


@pytest.mark.parametrize("name", ["operating.md", "quickstart.md", "security.md", "api.md"])
def test_every_setting_in_a_document_exists(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", text)) <= known


def test_every_script_in_a_document_exists() -> None:
    for path in DOCUMENTS:
        for script in re.findall(r"(?:benchmarks|tests)/\w+\.py", path.read_text(encoding="utf-8")):
            assert (ROOT / script).is_file(), f"{path.name}: {script}"


def test_the_operating_guide_names_figures_and_codes_that_exist(client: Caller) -> None:
    text = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    figures = set(re.findall(r"`(metagait_\w+?)(?:_total)?`", text))
    told = client.get("/metrics").text
    assert figures
    assert figures <= set(re.findall(r"^# TYPE (metagait_\w+?)(?:_total)? ", told, re.MULTILINE))
    problems = (ROOT / "docs/problems.md").read_text(encoding="utf-8")
    codes = set(re.findall(r"\| \d{3} `(\w+)`", text))
    assert codes
    assert all(f"| `{code}` |" in problems for code in codes)
