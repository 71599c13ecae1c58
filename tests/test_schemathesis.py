"""schemathesis against a server in this process: every check, a few examples of each operation.

The whole, against the service as it is run, is `make conformance`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.schemas import APIOperation

import tests.conformance_walks  # noqa: F401 -- it tells schemathesis what a walk is
from gallery import Gallery, KeyStore
from service.access import SCOPES
from service.app import create_app
from service.settings import Settings
from tests.caller import listening
from tests.fakes import FakeEncoder

CONFIG = Path(__file__).parent.parent / "docs" / "schemathesis.toml"
SCHEMA = schemathesis.openapi.from_dict(
    create_app(Settings()).openapi(), config=schemathesis.Config.from_path(CONFIG)
)
# Its own `parametrize` gives all of them one name, of which `pytest -n` runs the first alone.
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A server, and the header of a key that may do everything."""
    encoder = FakeEncoder()
    data = tmp_path_factory.mktemp("schemathesis")
    gallery = Gallery.open(data, model_id=encoder.facts.model_id, embedding_length=88)
    keys = KeyStore.open(data)
    _, key = keys.create("schemathesis", SCOPES)
    keys.close()
    app = create_app(Settings(data=data), encoder=encoder, gallery=gallery)
    with listening(app) as port:
        yield f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {key}"}
    gallery.close()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_an_operation_answers_as_it_is_described(
    operation: APIOperation, service: tuple[str, dict[str, str]]
) -> None:
    url, headers = service

    @given(operation.as_strategy())
    @settings(
        max_examples=4,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answers(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=url, headers=headers)

    answers()
