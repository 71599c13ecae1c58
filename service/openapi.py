"""`python -m service.openapi`: print the OpenAPI document, to renew docs/openapi.json.

    python -m service.openapi > docs/openapi.json

A test holds that file equal to what the application says.
"""

import json
import sys

from service.app import create_app
from service.settings import load_settings


def document() -> str:
    """The OpenAPI document as text, ending in a new line."""
    return json.dumps(create_app(load_settings()).openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
