"""Fixtures of the service's tests: the real app and gallery, a fake encoder, a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gallery import Gallery
from service.app import create_app
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", max_upload_mb=2, max_frames=200)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def gallery(settings: Settings, encoder: FakeEncoder) -> Iterator[Gallery]:
    settings.data.mkdir()
    opened = Gallery.open(
        settings.data,
        model_id=encoder.facts.model_id,
        embedding_length=encoder.facts.embedding_length,
    )
    yield opened
    opened.close()


@pytest.fixture
def client(settings: Settings, encoder: FakeEncoder, gallery: Gallery) -> Iterator[Caller]:
    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as caller:
        yield caller
