"""A server that hangs is given up, and found again; one that is slow is waited for."""

from contextlib import closing

import pytest
from sqlalchemy import text

from gallery import StoreUnavailable
from gallery.database import Database
from gallery.gallery import Gallery
from gallery.generations import Model
from gallery.index import ExactIndex
from gallery.preparing import find_or_make_gallery, prepare
from gallery.store import Store
from tests.galleries import LENGTH, embedding
from tests.postgres import Server

SAYS = "no word from the server for 0.3 s, and none to a new connection"


@pytest.fixture
def database(postgres_url):
    with closing(Database(f"{postgres_url}&connect_timeout=2", silent_s=0.3)) as opened:
        yield opened


def test_a_server_that_hangs_in_a_transaction_is_given_up(
    postgres_server: Server, database: Database
) -> None:
    def begin_and_go_on() -> None:
        with database.reading() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
            with postgres_server.hanging():
                connection.scalar(text("SELECT 2"))

    with pytest.raises(StoreUnavailable, match=SAYS):
        begin_and_go_on()
    with database.reading() as connection:
        assert connection.scalar(text("SELECT 3")) == 3


def test_a_gallery_on_it_refuses_and_goes_on_when_the_server_does(
    postgres_server: Server, database: Database
) -> None:
    prepare(database)
    store = Store(database, "main", find_or_make_gallery(database, "main"))
    with closing(Gallery.over(store, Model("model-a", LENGTH), ExactIndex(LENGTH))) as gallery:
        gallery.enroll("anna", embedding(1), silhouettes=None)
        with postgres_server.hanging():
            with pytest.raises(StoreUnavailable):
                gallery.identify(embedding(1))
            with pytest.raises(StoreUnavailable):
                gallery.enroll("ben", embedding(2), silhouettes=None)
        assert gallery.identify(embedding(1))[0].subject == "anna"
        assert gallery.status().samples == 1


def test_a_statement_may_take_as_long_as_it_takes(database: Database) -> None:
    with database.reading() as connection:
        assert connection.scalar(text("SELECT 1 FROM pg_sleep(1.5)")) == 1
