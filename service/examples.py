"""Examples for the OpenAPI document: what each operation answers when all goes well.

`examples.json` holds the bodies by operation id and status. They are recorded, not written: see
tests/answering.py.
"""

import json
from importlib.resources import files
from typing import Any


def document(openapi: dict[str, Any]) -> None:
    """Write the recorded bodies into an OpenAPI document, one for each answer in JSON."""
    recorded = json.loads(files("service").joinpath("examples.json").read_text(encoding="utf-8"))
    for path in openapi["paths"].values():
        for operation in path.values():
            for status, body in recorded.get(operation["operationId"], {}).items():
                operation["responses"][status]["content"]["application/json"]["example"] = body
