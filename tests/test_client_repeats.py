"""A lost connection is not a lost call: what is sent again, what is not, and what is done once."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from gallery import Gallery
from service.client import AsyncClient, Client
from service.errors import AnswerLostError, RefusedError, UnreachableError
from tests.fakes import FakeEncoder, walker

PAGE = {"subjects": [], "next": "ann"}
GONE = {"code": "subject_not_found", "detail": "nobody"}
IN_WORK = {"code": "request_in_work", "detail": "come back"}
REFUSED = httpx.ConnectError("refused")
Outcome = httpx.TransportError | tuple[int, object]


class Network:
    """Ends requests as it is told, one after another, and keeps them and the waits between."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self._outcomes = list(outcomes)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        headers = {"retry-after": "3"} if outcome[0] == 409 else {}
        return httpx.Response(outcome[0], json=outcome[1], headers=headers)


class Answering(Network):
    """Answers everything alike."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        super().__init__()
        self._answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request)


def page(network: Network, retries: int = 2) -> str | None:
    transport = httpx.MockTransport(network)
    with Client("http://x", transport=transport, retries=retries, wait=network.waits.append) as one:
        return one.subjects().next


def page_from_a_loop(network: Network, retries: int = 2) -> str | None:
    async def wait(seconds: float) -> None:
        network.waits.append(seconds)

    async def story() -> str | None:
        transport = httpx.MockTransport(network)
        async with AsyncClient("http://x", transport=transport, retries=retries, wait=wait) as one:
            return (await one.subjects()).next

    return asyncio.run(story())


BOTH = pytest.mark.parametrize("ask", [page, page_from_a_loop])
Ask = Callable[..., str | None]


@BOTH
@pytest.mark.parametrize(
    "lost",
    [REFUSED, httpx.ReadError("reset"), httpx.RemoteProtocolError("closed without an answer")],
)
def test_a_call_is_sent_again_when_its_connection_is_refused_or_lost(
    ask: Ask, lost: httpx.TransportError
) -> None:
    network = Network(lost, lost, (200, PAGE))
    assert ask(network) == "ann"
    assert network.waits == [1, 1]


@BOTH
@pytest.mark.parametrize("retries", [0, 2])
def test_it_is_not_sent_for_ever(ask: Ask, retries: int) -> None:
    network = Network(*[REFUSED] * 3)
    with pytest.raises(UnreachableError, match="nothing answers"):
        ask(network, retries)
    assert len(network.requests) == 1 + retries


@BOTH
def test_losses_and_refusals_are_bounded_together(ask: Ask) -> None:
    network = Network(REFUSED, (503, IN_WORK), (503, IN_WORK))
    with pytest.raises(RefusedError):
        ask(network)
    assert len(network.requests) == 3


@BOTH
def test_what_took_too_long_is_not_sent_again(ask: Ask) -> None:
    network = Network(httpx.ReadTimeout("slow"))
    with pytest.raises(UnreachableError, match="may still be at work"):
        ask(network)
    assert network.waits == []


@BOTH
@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"<html>hello</html>", {"content-type": "text/html"}), (b"{}", {}),
     (b"hello", {"content-encoding": "gzip"})],
    ids=["another server", "another version", "damaged on the way"],
)  # fmt: skip
def test_what_no_service_answers_is_an_error_of_the_client(
    ask: Ask, body: bytes, headers: dict[str, str]
) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body, headers=headers)

    with pytest.raises(UnreachableError, match="http://x"):
        ask(Answering(answer))


def test_the_answer_to_a_request_that_is_still_in_work_is_waited_for() -> None:
    network = Network(httpx.ReadError("reset"), (409, IN_WORK), (200, {"items": []}))
    transport = httpx.MockTransport(network)
    with Client("http://x", transport=transport, wait=network.waits.append) as client:
        assert client.identify_batch([walker(10)]) == ()
    assert network.waits == [1, 3]
    assert len({request.headers["idempotency-key"] for request in network.requests}) == 1
    assert len({request.content for request in map(without_boundary, network.requests)}) == 1


def without_boundary(request: httpx.Request) -> httpx.Request:
    """The same request, without the words that each form chooses to part its fields."""
    boundary = request.headers["content-type"].rpartition("=")[2].encode()
    return httpx.Request("POST", request.url, content=request.content.replace(boundary, b""))


def test_every_walk_is_sent_under_a_key_of_its_own_or_the_callers() -> None:
    network = Network(*[(422, IN_WORK)] * 8)
    with Client("http://x", transport=httpx.MockTransport(network)) as client:
        for given in ({}, {"idempotency_key": "mine"}):
            for ask in (
                lambda: client.enroll("ann", walker(10), **given),  # noqa: B023
                lambda: client.identify(walker(10), **given),  # noqa: B023
                lambda: client.identify_batch([walker(10)], **given),  # noqa: B023
                lambda: client.verify("ann", walker(10), **given),  # noqa: B023
            ):
                with pytest.raises(RefusedError):
                    ask()
    keys = [request.headers["idempotency-key"] for request in network.requests]
    assert len(set(keys[:4])) == 4
    assert keys[4:] == ["mine"] * 4


@pytest.mark.parametrize(
    ("first", "kind"),
    [(httpx.ReadError("reset"), AnswerLostError), (REFUSED, RefusedError)],
)
def test_an_erasure_that_finds_nobody_after_a_loss_may_have_been_done(
    first: httpx.TransportError, kind: type[RefusedError]
) -> None:
    network = Network(first, (404, GONE))
    transport = httpx.MockTransport(network)
    with (
        Client("http://x", transport=transport, wait=network.waits.append) as client,
        pytest.raises(RefusedError) as refused,
    ):
        client.erase_subject("ann")
    assert type(refused.value) is kind
    assert refused.value.status == 404


class Losing(httpx.HTTPTransport):
    """The network, which loses the first answer to each call after it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[tuple[str, str]] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        call = (request.method, request.url.path)
        if call in self.lost:
            return response
        self.lost.add(call)
        response.read()
        raise httpx.ReadError("lost")


def test_a_real_service_does_once_what_is_sent_again(
    url: str, gallery: Gallery, encoder: FakeEncoder
) -> None:
    transport = Losing()
    with Client(url, transport=transport, wait=lambda _: None) as client:
        enrolled = client.enroll("ann", walker(10))
        assert not enrolled.duplicate
        assert client.identify(walker(10)).candidates[0].sample_id == enrolled.sample_id
        assert len(encoder.batches) == 2
        with pytest.raises(AnswerLostError):
            client.erase_subject("ann")
        assert len(transport.lost) == 3
    assert gallery.status().samples == 0
