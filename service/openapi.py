"""`python -m service.openapi`: print the OpenAPI document, to renew docs/openapi.json.

    python -m service.openapi > docs/openapi.json

A test checks that this file equals the application's document.
"""

import json
import sys

from service.app import create_app
from service.settings import load_settings


def document() -> str:
    """Return the OpenAPI document as text that ends in a newline."""
    return json.dumps(create_app(load_settings()).openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
