"""schemathesis against a server in this process, a few examples of each operation.

The whole, over a running service with a key of every scope, is one command:

    schemathesis --config-file docs/schemathesis.toml run docs/openapi.json --url URL \\
        --header "Authorization: Bearer mg_..."
"""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gallery import Gallery
from service.app import create_app
from service.settings import Settings
from tests.caller import listening
from tests.fakes import FakeEncoder

SCHEMA = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    encoder = FakeEncoder()
    data = tmp_path_factory.mktemp("schemathesis")
    gallery = Gallery.open(data, model_id=encoder.facts.model_id, embedding_length=88)
    app = create_app(Settings(data=data, max_upload_mb=1), encoder=encoder, gallery=gallery)
    with listening(app) as port:
        yield f"http://127.0.0.1:{port}"
    gallery.close()


@SCHEMA.parametrize()
@settings(
    max_examples=4,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_an_operation_answers_as_it_is_described(case: schemathesis.Case, service: str) -> None:
    case.call_and_validate(base_url=service, checks=CHECKS)
