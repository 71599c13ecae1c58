"""Docs that cannot rot: what they name exists, and what exists is named."""

import re
import tomllib
from pathlib import Path

from metagait import COMMANDS
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_setting_stands_in_its_page_with_its_default() -> None:
    for name, field in Settings.model_fields.items():
        row = re.search(rf"^\| `{PREFIX}{name.upper()}` \| (.*?) \|", SETTINGS, re.MULTILINE)
        assert row, name
        if isinstance(field.default, int | float) or name in {
            "host",
            "gallery",
            "engine",
            "provider",
            "precision",
            "mode",
        }:
            assert row.group(1) == f"`{field.default}`", name


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", SETTINGS)) == known
    for path in DOCUMENTS:
        named = re.findall(rf"{PREFIX}[A-Z][A-Z_]*", path.read_text(encoding="utf-8"))
        assert set(named) <= known, path.name


def test_every_make_target_and_command_that_is_named_exists() -> None:
    texts = [
        path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    ]
    targets = {name for text in texts for name in re.findall(r"(?m)(?:`|^)make ([a-z-]+)", text)}
    commands = {name for text in texts for name in re.findall(r"`metagait ([a-z]+)", text)}
    assert {"demo", "test", "check", "serve", "weights"} <= targets
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)
    assert commands <= set(COMMANDS)


def test_links_between_the_documents_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_links_into_a_document_lead_to_a_heading_of_it() -> None:
    found = 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for name, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
            target = path.parent / name if name else path
            assert anchor in anchors_of(target), f"{path.name}: {name}#{anchor}"
            found += 1
    assert found > 10


def anchors_of(path: Path) -> set[str]:
    """The headings of a document, as GitHub and most viewers make anchors of them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = (re.sub(r"\]\([^)]*\)", "", line) for line in re.findall(r"(?m)^#+ (.*)$", text))
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in headings}


def test_every_package_is_in_the_distribution() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = set(named["tool"]["setuptools"]["packages"])
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for room in ("gallery", "model", "service")
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert packages == found
