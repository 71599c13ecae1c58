"""Both clients: they wait as long as the service asks, and say in words what went wrong."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from service.client import AsyncClient, Client
from service.errors import NoKeyError, NoWalksError, RefusedError, UnreachableError
from service.schemas import Consent
from tests.fakes import walker
from tests.waiting import free_port

PROBLEM = {"code": "busy", "detail": "come back"}
PAGE = {"subjects": [], "next": "ann"}


class Service:
    """Answers with the given statuses, one after another, and keeps what it was asked."""

    def __init__(self, *statuses: int, after: str | None = "0") -> None:
        self.requests: list[httpx.Request] = []
        self._statuses = list(statuses)
        self._headers = {} if after is None else {"retry-after": after}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self._statuses.pop(0)
        body = PAGE if status == 200 else PROBLEM
        return httpx.Response(status, json=body, headers=self._headers)


def ask_for_a_page(service: Service, *, retries: int = 2) -> str | None:
    transport = httpx.MockTransport(service)
    with Client("http://x", transport=transport, retries=retries, key="mg_a_b") as client:
        return client.subjects().next


def ask_from_a_loop(service: Service, *, retries: int = 2) -> str | None:
    async def story() -> str | None:
        transport = httpx.MockTransport(service)
        async with AsyncClient("http://x", transport=transport, retries=retries) as client:
            return (await client.subjects()).next

    return asyncio.run(story())


BOTH = pytest.mark.parametrize("ask", [ask_for_a_page, ask_from_a_loop])
Ask = Callable[..., str | None]


@BOTH
@pytest.mark.parametrize("statuses", [(200,), (503, 200), (429, 503, 200)])
def test_a_busy_service_is_asked_again(ask: Ask, statuses: Sequence[int]) -> None:
    service = Service(*statuses)
    assert ask(service) == "ann"
    assert len(service.requests) == len(statuses)


@BOTH
def test_the_answer_to_a_request_in_work_is_waited_for(ask: Ask) -> None:
    assert ask(Service(409, 200)) == "ann"
    with pytest.raises(RefusedError, match="409"):
        ask(Service(409, 200, after=None))


@BOTH
@pytest.mark.parametrize(("statuses", "retries"), [((503,) * 3, 2), ((503,), 0), ((422,), 2)])
def test_a_refusal_is_told_in_the_end(ask: Ask, statuses: Sequence[int], retries: int) -> None:
    service = Service(*statuses)
    with pytest.raises(RefusedError, match="come back") as refused:
        ask(service, retries=retries)
    assert refused.value.status == statuses[-1]
    assert len(service.requests) == len(statuses)


def test_the_wait_is_the_one_that_was_asked_for() -> None:
    waits: list[float] = []
    transport = httpx.MockTransport(Service(503, 200, after="7"))
    with Client("http://x", transport=transport, wait=waits.append) as client:
        client.subjects()
    assert waits == [7]


def test_readiness_is_asked_once() -> None:
    service = Service(503)
    with (
        Client("http://x", transport=httpx.MockTransport(service)) as client,
        pytest.raises(RefusedError),
    ):
        client.ready()
    assert len(service.requests) == 1


def ready_at(url: str) -> None:
    with Client(url, timeout_s=5) as client:
        client.ready()


def ready_at_from_a_loop(url: str) -> None:
    async def story() -> None:
        async with AsyncClient(url, timeout_s=5) as client:
            await client.ready()

    asyncio.run(story())


@pytest.mark.parametrize("ask", [ready_at, ready_at_from_a_loop])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_what_is_on_this_machine_is_not_asked_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], None], host: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with pytest.raises(UnreachableError):
            ask(f"http://{host}:{free_port()}")
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://x:port"])
def test_a_url_that_cannot_be_is_said(url: str) -> None:
    with pytest.raises(UnreachableError, match="expected a URL"):
        Client(url)


def test_the_key_is_in_its_header() -> None:
    service = Service(200)
    ask_for_a_page(service)
    assert service.requests[0].headers["authorization"] == "Bearer mg_a_b"


def test_a_retry_sends_the_same_body_and_idempotency_key() -> None:
    service = Service(503, 422)
    with (
        Client("http://x", transport=httpx.MockTransport(service)) as client,
        pytest.raises(RefusedError),
    ):
        client.enroll("ann", walker(10))
    first, second = service.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert b"MGPK" in first.content
    assert len(first.content) == len(second.content)


def test_what_is_no_walk_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    service = Service()
    with Client("http://x", transport=httpx.MockTransport(service)) as client:
        for wrong in (tmp_path, tmp_path / "none.zip", [], [1, 2], None):
            with pytest.raises(NoWalksError):
                client.identify_batch([wrong])  # type: ignore[list-item]
            with pytest.raises(NoWalksError):
                client.identify(wrong)  # type: ignore[arg-type]
        with pytest.raises(NoWalksError, match="at least one walk"):
            client.identify_batch([])
    assert service.requests == []


class Watched(list[Path]):
    """Pictures that note which thread reads them."""

    readers: ClassVar[list[int]] = []

    def __iter__(self) -> Iterator[Path]:
        self.readers.append(threading.get_ident())
        return super().__iter__()


def test_an_event_loop_goes_on_while_a_walk_is_read(tmp_path: Path) -> None:
    picture = tmp_path / "1.png"
    picture.write_bytes(b"picture")

    async def story() -> None:
        transport = httpx.MockTransport(Service(*[422] * 5))
        async with AsyncClient("http://x", transport=transport) as client:
            walk = Watched([picture])
            for ask in (client.identify(walk), client.preview(walk), client.enroll("ann", walk),
                        client.verify("ann", walk), client.identify_batch([walk])):  # fmt: skip
                with pytest.raises(RefusedError):
                    await ask

    asyncio.run(story())
    assert len(Watched.readers) >= 5
    assert threading.get_ident() not in Watched.readers


def test_a_key_from_a_file_may_end_in_a_line_and_is_never_told() -> None:
    service = Service(200)
    with Client("http://x", transport=httpx.MockTransport(service), key="mg_a_b\n") as client:
        client.subjects()
    assert service.requests[0].headers["authorization"] == "Bearer mg_a_b"
    with pytest.raises(NoKeyError) as refused:
        Client("http://x", key="mg_secret\nX-Evil: 1")
    assert "secret" not in str(refused.value)


def test_a_url_without_its_scheme_is_named() -> None:
    with pytest.raises(UnreachableError, match="begins with http"):
        Client("127.0.0.1:8000")


def test_a_client_says_why_and_when_and_from_where(url: str) -> None:
    moment = datetime(2026, 3, 1, 8, tzinfo=UTC)
    consent = Consent(basis="study 4", reference="17", expires=moment)
    with Client(url) as client:
        client.enroll("ann", walker(10), metadata={"view": 90}, captured_at=moment, consent=consent)
        (sample,) = client.subject("ann").samples
        assert (sample.captured_at, sample.consent) == (moment, consent)
        (found,) = client.identify(walker(10), metadata={"view": 126}).candidates
        claimed = client.verify("ann", walker(10), metadata={"view": 126})
    for view in (found.view, claimed.view):
        assert view is not None
        assert view.difference == 36


def test_nothing_answers() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async def story() -> None:
        transport = httpx.MockTransport(refuse)
        async with AsyncClient("http://x", transport=transport, retries=0) as client:
            await client.info()

    with pytest.raises(UnreachableError, match="nothing answers"):
        asyncio.run(story())
