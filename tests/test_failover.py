"""The drill for two replicas, on services in this process: it passes, and it can fail."""

import pytest

from service.app import create_app
from service.client import Client
from service.settings import Settings
from tests.caller import listening
from tests.failover import FailoverError, exchange, kept, under_load, walk
from tests.fakes import FakeEncoder


def test_no_walk_is_like_another() -> None:
    walks = [walk(number).tobytes() for number in range(50)]
    assert len(set(walks)) == len(walks)


def test_replicas_that_share_a_gallery_pass(url: str) -> None:
    with Client(url) as first, Client(url) as second:
        exchange(first, second)
        assert kept(first) == set()


def test_replicas_that_share_nothing_are_found_out(url: str, settings: Settings) -> None:
    alone = settings.model_copy(update={"data": settings.data / "other"})
    with (
        listening(create_app(alone, encoder=FakeEncoder())) as port,
        Client(url) as first,
        Client(f"http://127.0.0.1:{port}") as second,
        pytest.raises(FailoverError, match="at the other replica"),
    ):
        exchange(first, second)


def test_what_was_acknowledged_under_load_is_listed(url: str) -> None:
    tally = under_load(url, None, callers=2, seconds=2, stop="true")
    with Client(url) as client:
        assert tally.acknowledged <= kept(client)
    assert tally.refused["no answer"] == 0
