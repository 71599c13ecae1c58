"""Requests made to harm: endless, slow, bent or forged. Each is refused and writes nothing."""

import asyncio
import socket
import time
from typing import Any

import numpy as np
import pytest

from gallery import Gallery
from service.app import create_app
from service.settings import Settings
from tests.caller import Caller, calling, listening
from tests.fakes import FakeEncoder, npy, png, walker
from tests.test_service_refusals import WALK, check_problem, sequence


@pytest.mark.parametrize(
    ("count", "code"),
    [(1, "too_few_frames"), (201, "too_many_frames"), (1001, "too_many_frames")],
)
def test_the_number_of_frame_parts_is_limited(client: Caller, count: int, code: str) -> None:
    picture = png(np.full((20, 20), 255, np.uint8))
    response = client.post("/identify", files=[("frames", ("x", picture))] * count)
    check_problem(response, 422, code)


def test_a_body_without_length_is_limited_while_it_arrives(client: Caller) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="sequence"; filename="x"\r\n\r\n'
        for _ in range(1000):
            sent += 100_000
            yield bytes(100_000)

    kind = {"content-type": "multipart/form-data; boundary=b"}
    response = client.post("/identify", content=endless(), headers=kind)
    check_problem(response, 413, "upload_too_large")
    assert sent < 3_000_000


def test_a_body_that_comes_too_slowly_is_refused(
    settings: Settings, encoder: FakeEncoder, gallery: Gallery
) -> None:
    hasty = settings.model_copy(update={"upload_timeout_s": 0.05})

    async def never_ending() -> Any:
        yield b"--b\r\n"
        await asyncio.Event().wait()

    kind = {"content-type": "multipart/form-data; boundary=b"}
    with calling(create_app(hasty, encoder=encoder, gallery=gallery)) as client:
        response = client.post("/identify", content=never_ending(), headers=kind)
    check_problem(response, 408, "upload_timeout")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"", None),
        (b"--b\r\n", "multipart/form-data"),
        (b"nonsense", "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
         "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="subject"\r\n\r\n\xff\xfe\r\n--b--',
         "multipart/form-data; boundary=b; charset=undefined"),
        (b'--b\r\nContent-Disposition: form-data; name="subject"\r\n\r\nx\r\n--b--',
         "multipart/form-data; boundary=b; charset=a\0b"),
    ],
)  # fmt: skip
def test_what_is_no_form_is_refused(client: Caller, body: bytes, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    check_problem(client.post("/identify", content=body, headers=headers), 400, "malformed_upload")


@pytest.mark.parametrize(
    "metadata",
    ["[1]", "nonsense", '{"a": NaN}', '{"a": 1e999}', '{"a": -Infinity}', '{"a": "\\ud800"}',
     "[" * 50_000, '{"a": ' * 10_000, '{"a": ' + "9" * 5000 + "}", '"text"'],
)  # fmt: skip
def test_metadata_is_a_strict_json_object(client: Caller, gallery: Gallery, metadata: str) -> None:
    fields = {"subject": "ann", "metadata": metadata}
    response = client.post("/enroll", data=fields, files=sequence(WALK))
    check_problem(response, 422, "invalid_field")
    assert gallery.status().samples == 0


@pytest.mark.parametrize("opening", ['{"a": ', '{"a": [{"b": '])
def test_nobodys_metadata_makes_them_unreadable(
    client: Caller, gallery: Gallery, opening: str
) -> None:
    closing, deep = opening.count("["), opening.count("{") + opening.count("[")

    def nested(times: int) -> dict[str, str]:
        end = "}" + "]}" * closing
        return {"subject": "ann", "metadata": opening * times + "1" + end * times}

    refused = client.post("/enroll", data=nested(65 // deep + 1), files=sequence(WALK))
    check_problem(refused, 422, "invalid_metadata")
    assert gallery.status().samples == 0
    taken = client.post("/enroll", data=nested(64 // deep), files=sequence(WALK))
    assert taken.status_code == 201, taken.text
    assert client.get("/subjects/ann").status_code == 200


def test_one_samples_metadata_spoils_no_search(client: Caller) -> None:
    vast = {"metadata": f'{{"view": 1{"0" * 400}}}'}
    enrolled = client.post("/enroll", data={"subject": "ann", **vast}, files=sequence(WALK))
    assert enrolled.status_code == 201
    for asked in ({"metadata": '{"view": 90}'}, vast):
        answer = client.post("/identify", data=asked, files=sequence(WALK))
        assert answer.status_code == 200, answer.text
        assert answer.json()["candidates"][0]["view"] is None


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7", "punycode", "latin-1", '"\\"'])
def test_a_form_is_in_utf_8(client: Caller, charset: str) -> None:
    # Codecs that a caller may choose read half a surrogate pair, which nothing can write, or take
    # half a second for a field, in which nobody else is answered.
    body = b'--b\r\nContent-Disposition: form-data; name="subject"\r\n\r\n\\ud800\r\n--b--'
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    headers = {"content-type": kind, "idempotency-key": "once"}
    response = client.post("/identify", content=body, headers=headers)
    check_problem(response, 400, "malformed_upload")


@pytest.mark.parametrize("charset", ["UTF-8", "utf8", '"utf-8"', "us-ascii"])
def test_a_form_may_say_that_it_is_in_utf_8(client: Caller, charset: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="limit"\r\n\r\n5\r\n--b--'
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    response = client.post("/identify", content=body, headers={"content-type": kind})
    check_problem(response, 422, "invalid_field")
    assert "expected a walk" in response.json()["detail"]


def test_a_giant_text_field_is_refused(client: Caller) -> None:
    fields = {"subject": "ann", "metadata": "x" * 100_000}
    response = client.post("/enroll", data=fields, files=sequence(WALK))
    check_problem(response, 400, "malformed_upload")


@pytest.mark.parametrize("subject", ["a\0b", "a\r\nSet-Cookie: x", "a\u2028b", "\x7f"])
def test_ids_with_control_characters_are_refused(
    client: Caller, gallery: Gallery, subject: str
) -> None:
    response = client.post("/enroll", data={"subject": subject}, files=sequence(WALK))
    check_problem(response, 422, "invalid_subject")
    assert gallery.status().samples == 0


@pytest.mark.parametrize("path", ["/subjects/a%00b", "/subjects/a%0d%0aSet-Cookie:%20x",
                                  "/samples/%00", "/subjects/..%2f..%2fetc%2fpasswd",
                                  "/samples/..%2f..%2fx/walk", "/web/..%2f..%2fmetagait.py",
                                  "/web/%00"])  # fmt: skip
def test_paths_made_to_harm_find_nothing(client: Caller, path: str) -> None:
    for method in ("GET", "DELETE"):
        response = client.request(method, path)
        assert response.status_code in (404, 405, 422), response.text
        assert "set-cookie" not in response.headers
        assert response.headers["content-type"] == "application/problem+json"


def test_a_header_cannot_be_injected(client: Caller) -> None:
    given = {"x-request-id": "a\tb", "idempotency-key": "k" * 129}
    response = client.post("/enroll", data={"subject": "ann"}, files=sequence(WALK), headers=given)
    check_problem(response, 422, "invalid_request")
    assert len(response.headers["x-request-id"]) == 32


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b.zip", "x" * 5000, "a\r\nb.png"])
def test_a_files_name_means_nothing(client: Caller, name: str) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="sequence"; filename="'
        + name.replace("\r\n", "%0D%0A").encode()
        + b'"\r\n\r\n'
        + npy(walker(10))
        + b"\r\n--b--\r\n"
    )
    kind = {"content-type": "multipart/form-data; boundary=b"}
    response = client.post("/identify", content=body, headers=kind)
    assert response.status_code in (200, 400)


def drip(connection: socket.socket, data: bytes) -> None:
    """Send a byte now and then, until the other side has had enough."""
    for byte in data:
        try:
            connection.sendall(bytes([byte]))
        except OSError:
            return
        time.sleep(0.02)


def test_a_body_dripped_over_a_socket_is_ended_in_time(
    settings: Settings, encoder: FakeEncoder, gallery: Gallery
) -> None:
    hasty = settings.model_copy(update={"upload_timeout_s": 0.3})
    with listening(create_app(hasty, encoder=encoder, gallery=gallery)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(
                b"POST /identify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            )
            head = b'Content-Disposition: form-data; name="sequence"; filename="x"'
            connection.sendall(b"--b\r\n" + head + b"\r\n\r\n")
            drip(connection, b"x" * 100)
            assert connection.recv(100).startswith(b"HTTP/1.1 408")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_giant_headers_are_refused(
    settings: Settings, encoder: FakeEncoder, gallery: Gallery
) -> None:
    with (
        listening(create_app(settings, encoder=encoder, gallery=gallery)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
    ):
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 200_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
