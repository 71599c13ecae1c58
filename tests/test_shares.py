"""What keys share: no key keeps the others out by many, slow or large walks, nor by batches."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx
import pytest

from gallery import Gallery, KeyStore
from service.admission import Admission
from service.app import create_app
from service.errors import BusyError
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder, npy, walker
from tests.test_admission import encoded
from tests.waiting import wait_until


def enter_all(admission: Admission, held: ExitStack, owner: str | None) -> int:
    """Take places until one is refused; return how many there were."""
    count = 0
    while True:
        try:
            held.enter_context(admission.place(owner))
        except BusyError:
            return count
        count += 1


def test_each_key_may_hold_as_much_as_it_leaves_free() -> None:
    admission = Admission(walks=64, body_bytes=10)
    with ExitStack() as held:
        assert enter_all(admission, held, "greedy") == 32
        assert enter_all(admission, held, "second") == 16
        assert enter_all(admission, held, "third") == 8
        with pytest.raises(BusyError, match="got 32, and room for 8 more"):
            held.enter_context(admission.place("greedy"))
    with ExitStack() as held:
        assert enter_all(admission, held, None) == 64
    assert admission.taken == 0


def test_what_is_given_back_may_be_taken_again_and_nobody_is_remembered() -> None:
    admission = Admission(walks=6, body_bytes=10)
    for _ in range(2):
        with ExitStack() as held:
            assert enter_all(admission, held, "one") == 3
    assert not admission._places_of
    assert not admission._bytes_of


def test_the_smallest_service_still_takes_a_walk_of_any_key() -> None:
    admission = Admission(walks=1, body_bytes=10)
    with admission.place("one") as place:
        place.hold(10)
        with pytest.raises(BusyError), admission.place("other"):
            pass
    with admission.place("other") as place:
        place.hold(10)


def test_a_key_leaves_the_others_time_as_well_as_places() -> None:
    admission = Admission(walks=64, body_bytes=10, wait_s=5)
    encoded(admission, 0.5)  # half a second a walk: eight until the four seconds are given away
    with ExitStack() as held:
        assert enter_all(admission, held, "greedy") == 4
        assert enter_all(admission, held, "second") == 2


def test_a_key_leaves_the_others_bytes() -> None:
    admission = Admission(walks=9, body_bytes=100)
    with admission.place("one") as first, admission.place("one") as second:
        first.hold(40)
        with pytest.raises(BusyError, match="got 60, and 40 left"):
            second.hold(20)
        second.hold(10)
        with admission.place("other") as third:
            third.hold(50)
    with admission.place("one") as alone:
        alone.hold(60)
        alone.hold(100)
    assert admission.held_bytes == 0
    assert not admission._bytes_of


@contextmanager
def with_keys(settings: Settings, gallery: Gallery, rates: list[int | None]) -> Iterator[Any]:
    """A service with a key for each rate; gives its caller, the keys and its admission."""
    with closing(KeyStore.open(settings.store())) as store:
        keys = [store.create(f"k{n}", ["identify"], per_minute=r)[1] for n, r in enumerate(rates)]
    app = create_app(settings, encoder=FakeEncoder(), gallery=gallery)
    with calling(app) as caller:
        bearers = [{"authorization": f"Bearer {key}"} for key in keys]
        yield caller, bearers, app.state.galleries.own.rooms.admission


def slow_body(go_on: threading.Event) -> Any:
    async def body() -> Any:
        walk = npy(walker(10))
        yield walk[:100]
        await asyncio.to_thread(go_on.wait, 20)
        yield walk[100:]

    return body()


def send_slowly(
    caller: Caller, key: dict[str, str], count: int, answers: list[int]
) -> Callable[[], None]:
    """Begin so many uploads; the function given back ends them."""
    go_on = threading.Event()
    kind = {"content-type": "application/octet-stream", **key}

    def upload() -> None:
        response: httpx.Response = caller.post("/identify", content=slow_body(go_on), headers=kind)
        answers.append(response.status_code)

    threads = [threading.Thread(target=upload) for _ in range(count)]
    for thread in threads:
        thread.start()

    def finish() -> None:
        go_on.set()
        for thread in threads:
            thread.join(20)

    return finish


def test_a_key_that_sends_slowly_keeps_no_other_out(settings: Settings, gallery: Gallery) -> None:
    narrow = settings.model_copy(update={"queue_walks": 6})
    answers: list[int] = []
    walk = {"sequence": ("w", npy(walker(10)))}
    with with_keys(narrow, gallery, [None, None]) as (caller, (slow, other), admission):
        finish = send_slowly(caller, slow, 6, answers)
        wait_until(lambda: len(answers) == 3 and admission.taken == 3)
        assert answers == [503] * 3
        refused = caller.post("/identify", files=walk, headers=slow)
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert refused.headers["retry-after"] == "1"
        assert caller.post("/identify", files=walk, headers=other).status_code == 200
        finish()
    assert sorted(answers) == [200] * 3 + [503] * 3


def test_a_key_without_others_may_have_everything(settings: Settings, gallery: Gallery) -> None:
    narrow = settings.model_copy(update={"queue_walks": 3})
    answers: list[int] = []
    with with_keys(narrow, gallery, [None]) as (caller, (key,), admission):
        finish = send_slowly(caller, key, 3, answers)
        wait_until(lambda: admission.taken == 3)
        finish()
    assert answers == [200] * 3


def test_a_batch_costs_as_many_requests_as_it_has_walks(
    settings: Settings, gallery: Gallery
) -> None:
    batch = [("sequence", ("w", npy(walker(build)))) for build in (8, 10, 12)]
    with with_keys(settings, gallery, [1]) as (caller, (key,), _):
        # One of more walks than the rate is answered, and the next one waits for all of them.
        assert caller.post("/identify/batch", files=batch, headers=key).status_code == 200
        refused = caller.post("/identify", files=batch[:1], headers=key)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 60 < int(refused.headers["retry-after"]) <= 180


def test_the_walks_of_a_batch_take_no_places_from_others_nor_from_each_other(
    settings: Settings, gallery: Gallery
) -> None:
    # One walk in a call, so that it is known how many wait.
    narrow = settings.model_copy(update={"queue_walks": 2, "batch_frames": 1})
    encoder, answers = FakeEncoder(), []
    encoder.free.clear()
    batch = [("sequence", ("w", npy(walker(build)))) for build in (8, 10, 12, 14)]
    app = create_app(narrow, encoder=encoder, gallery=gallery)
    with calling(app) as caller:

        def send(path: str, count: int) -> threading.Thread:
            def answer() -> None:
                answers.append(caller.post(path, files=batch[:count]))

            thread = threading.Thread(target=answer)
            thread.start()
            return thread

        batcher = app.state.galleries.own.rooms.batcher
        threads = [send("/identify/batch", 4)]
        wait_until(lambda: batcher.waiting == 3)
        threads.append(send("/identify", 1))
        wait_until(lambda: batcher.waiting == 4)
        encoder.free.set()
        for thread in threads:
            thread.join(20)
    assert [one.status_code for one in answers] == [200, 200]
    (items,) = (one.json()["items"] for one in answers if "items" in one.json())
    assert [one["problem"] for one in items] == [None] * 4
