"""The socket that the service answers on."""

import socket
import threading
from pathlib import Path

import pytest
import uvicorn

from gallery import Gallery
from service.app import create_app
from service.client import Client
from service.connections import Patience, server_config
from service.errors import StartError
from service.serve import address_of, listen
from service.settings import Settings
from tests.fakes import FakeEncoder
from tests.processes import wait_until_ready


def test_answers_are_not_held_back_for_the_callers_acknowledgement(tmp_path: Path) -> None:
    with (
        listen(Settings(data=tmp_path, port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with listen(Settings(data=tmp_path, port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"expected to listen on 127.0.0.1:{port}"):
            listen(Settings(data=tmp_path, port=port))


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "no-such-host.invalid"])
def test_a_host_that_cannot_be_is_named(tmp_path: Path, host: str) -> None:
    with pytest.raises(StartError, match=f"expected to listen on {host}:0, got: "):
        listen(Settings(data=tmp_path, host=host, port=0))


def test_an_address_of_ipv6_is_listened_on_and_told_as_in_a_url(
    settings: Settings, encoder: FakeEncoder, gallery: Gallery
) -> None:
    try:
        listener = listen(settings.model_copy(update={"host": "::1", "port": 0}))
    except StartError as error:
        pytest.skip(f"no IPv6 here: {error}")
    config = server_config(
        create_app(settings, encoder=encoder, gallery=gallery), Patience(), drain_s=20
    )
    server, port = uvicorn.Server(config), listener.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with Client(f"http://{address_of('::1', port)}") as client:
            wait_until_ready(client)
            assert client.subjects().subjects == ()
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()
