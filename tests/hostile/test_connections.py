"""Connections made to be kept: no head, half a head, half a body, an answer that nobody reads."""

import io
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPMessage, HTTPResponse

import pytest

from gallery import Gallery
from service.app import create_app
from service.connections import REFUSED_AT_A_TIME, Patience
from service.logs import JsonLines
from service.security import safe_headers
from service.settings import Settings
from tests.caller import listening
from tests.fakes import FakeEncoder
from tests.hostile.test_requests import drip
from tests.waiting import wait_until

HASTY = Patience(head_s=0.5, body_s=0.5, answer_s=0.5)
ALIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
BENT_CHUNK = (
    b"POST /identify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/zip\r\n\r\nZZZ\r\n"
)
HALF_A_HEAD = b"POST /identify HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_A_BODY = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
HALF_A_JSON = (
    b"PUT /subjects/ann/consent HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    b'Content-Type: application/json\r\n\r\n{"basis": "'
)

Serve = Callable[[Patience], int]


@pytest.fixture
def serve(settings: Settings, encoder: FakeEncoder, gallery: Gallery) -> Iterator[Serve]:
    with ExitStack() as stack:

        def served(patience: Patience) -> int:
            hasty = settings.model_copy(
                update={
                    "upload_timeout_s": patience.body_s,
                    "max_connections": patience.connections,
                }
            )
            app = create_app(hasty, encoder=encoder, gallery=gallery)
            return stack.enter_context(listening(app, patience))

        yield served


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        yield connection


def answer(connection: socket.socket) -> tuple[int, HTTPMessage, bytes]:
    """The status, headers and body of the next answer."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.headers, response.read()


def is_alive(connection: socket.socket) -> bool:
    connection.sendall(ALIVE)
    return answer(connection)[0] == 200


def is_closed(connection: socket.socket) -> bool:
    """Wait for the next bytes; tells whether there are none."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def ask_until_given_up(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("before", "sent"),
    [(b"", b""), (b"", HALF_A_HEAD), (ALIVE, HALF_A_HEAD), (HALF_A_BODY, b"x")],
    ids=["nothing", "half a head", "half a second head", "half a body that nobody reads"],
)
@pytest.mark.parametrize("is_dripped", [False, True])
def test_what_never_ends_is_ended(
    serve: Serve, before: bytes, sent: bytes, is_dripped: bool
) -> None:
    with connected(serve(HASTY)) as connection:
        if before:
            connection.sendall(before)
            assert answer(connection)[0] == 200
        connection.sendall(sent)
        if is_dripped and sent:
            drip(connection, b"x" * 100)
        assert is_closed(connection)


@pytest.mark.parametrize(
    "sent",
    [
        b"HELO there\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 100_000,
        BENT_CHUNK,
    ],
    ids=["words", "TLS", "no host", "bent header", "giant header", "bent chunk"],
)
def test_what_is_no_http_is_a_problem_too(serve: Serve, sent: bytes) -> None:
    with connected(serve(Patience())) as connection:
        connection.sendall(sent)
        status, headers, body = answer(connection)
        assert is_closed(connection)
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert headers["connection"] == "close"
    assert all(headers[name] == value for name, value in safe_headers().items())
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (400, "bad_request")
    assert problem["request_id"] == headers["x-request-id"]
    assert problem["detail"].startswith("expected")


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Collect what the service would write to its log meanwhile."""
    handler = logging.StreamHandler(text := io.StringIO())
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


@pytest.mark.parametrize(
    "before", [b"", ALIVE.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")]
)
def test_a_request_that_is_no_http_has_one_line_in_the_log_and_it_has_its_id(
    serve: Serve, before: bytes
) -> None:
    with connected(serve(Patience())) as connection, logged() as text:
        if before:
            connection.sendall(before)
            assert answer(connection)[0] == 200
        connection.sendall(b"HELO there\r\n\r\n")
        told = None if before else answer(connection)[1]["x-request-id"]
        assert is_closed(connection)
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    (said,) = (line for line in lines if "HTTP" in line["message"])
    assert said["request_id"] == (told or said["request_id"])


def test_a_wish_for_another_protocol_is_logged_as_the_request_that_it_comes_with(
    serve: Serve,
) -> None:
    wish = ALIVE.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    with connected(serve(Patience())) as connection, logged() as text:
        connection.sendall(wish)
        assert answer(connection)[0] == 200
        wait_until(lambda: "answered" in text.getvalue())
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    assert [line for line in lines if line["level"] != "info"] == []


def test_a_body_that_is_no_http_is_refused_under_the_id_of_its_request(
    serve: Serve,
) -> None:
    with connected(serve(Patience())) as connection:
        connection.sendall(BENT_CHUNK.replace(b"\r\n", b"\r\nX-Request-Id: mine\r\n", 1))
        _, headers, body = answer(connection)
    assert headers["x-request-id"] == json.loads(body)["request_id"] == "mine"


def test_what_is_no_http_after_an_answer_is_no_fault_of_ours(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(serve(Patience())) as connection:
        connection.sendall(
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert answer(connection)[0] == 200
        connection.sendall(b"ZZZ\r\n")
        assert is_closed(connection)
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


def test_a_json_body_that_comes_too_slowly_is_refused(serve: Serve) -> None:
    with connected(serve(HASTY)) as connection:
        connection.sendall(HALF_A_JSON)
        drip(connection, b"x" * 60)
        status, _, problem = answer(connection)
    assert (status, json.loads(problem)["code"]) == (408, "upload_timeout")


def test_an_answer_that_nobody_reads_is_given_up(serve: Serve) -> None:
    port = serve(HASTY)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", port))
        with pytest.raises(ConnectionError):
            ask_until_given_up(connection)


def test_an_idle_connection_is_kept_between_requests(serve: Serve) -> None:
    with connected(serve(HASTY)) as connection:
        assert is_alive(connection)
        time.sleep(2 * HASTY.head_s)
        assert is_alive(connection)


def test_one_connection_too_many_is_told_so(serve: Serve) -> None:
    port = serve(Patience(connections=3))
    with ExitStack() as stack:
        others = [stack.enter_context(connected(port)) for _ in range(3)]
        assert all(map(is_alive, others))
        with connected(port) as one_more:
            one_more.sendall(ALIVE.replace(b"/livez", b"/subjects"))
            status, headers, problem = answer(one_more)
            assert (status, json.loads(problem)["code"]) == (503, "busy")
            assert (headers["retry-after"], headers["connection"]) == ("1", "close")
            assert is_closed(one_more)
        with connected(port) as probing:
            assert is_alive(probing)
            assert is_closed(probing)
        assert is_alive(others[0])


def test_far_too_many_connections_are_closed_and_hold_nobody_up(serve: Serve) -> None:
    port = serve(Patience(connections=3))
    with ExitStack() as stack:
        for _ in range(3 + REFUSED_AT_A_TIME):
            stack.enter_context(connected(port)).sendall(HALF_A_HEAD)
        assert is_closed(stack.enter_context(connected(port)))
    wait_until(lambda: knocks(port))


def knocks(port: int) -> bool:
    with connected(port) as connection, suppress(ConnectionError):
        return is_alive(connection)
    return False
