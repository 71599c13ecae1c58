"""Adds to the OpenAPI document an example of each operation's successful answers.

`examples.json` holds the bodies by operation id and status. They are recorded by
tests/answering.py, not written by hand.
"""

import json
from importlib.resources import files
from typing import Any


def document(openapi: dict[str, Any]) -> None:
    """Add the recorded bodies to an OpenAPI document, one for each JSON answer."""
    recorded = json.loads(files("service").joinpath("examples.json").read_text(encoding="utf-8"))
    for path in openapi["paths"].values():
        for operation in path.values():
            for status, body in recorded.get(operation["operationId"], {}).items():
                operation["responses"][status]["content"]["application/json"]["example"] = body
