"""The socket that the service answers on."""

import socket
from pathlib import Path

import pytest

from service.errors import StartError
from service.serve import listen
from service.settings import Settings


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
