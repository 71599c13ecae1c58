"""The Python examples of docs/api.md, run against a real server."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import walker

GUIDE = (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_the_examples_of_the_guide_run(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(EXAMPLES) == 3
    names: dict[str, Any] = {"url": url, "monday": walker(10), "tuesday": walker(10, 30)}
    for example in EXAMPLES:
        exec(example, names)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("match [('alice', ")
    assert second == "('alice', ['match', 'match'])"
