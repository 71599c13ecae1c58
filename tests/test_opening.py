"""What is opened for somebody who leaves meanwhile, or for a service that ends, is closed again."""

import asyncio
import threading
from contextlib import AsyncExitStack, ExitStack, suppress
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gallery import Model
from service.batcher import Batcher
from service.engines import Engine, Engines
from service.errors import NotReadyError, StartError
from service.galleries import Galleries
from service.serving import Serving
from tests.fakes import FakeEncoder
from tests.waiting import wait_until


class FakeGallery:
    """A gallery whose live generation is of the model `b`."""

    def __init__(self) -> None:
        self.closed = False

    def live_model(self) -> Model:
        return Model("b", 4)

    def close(self) -> None:
        self.closed = True


class FakeBatcher:
    """A queue that runs until it is closed."""

    running, waiting = True, 0

    async def close(self, *, drain_s: float = 0) -> None:
        self.running = False


class FakeRooms:
    """Rooms for a model, of which only what serving asks is there."""

    def __init__(self, model_id: str) -> None:
        self.encoder = SimpleNamespace(facts=SimpleNamespace(model_id=model_id), close=self._close)
        self.gallery, self.batcher = FakeGallery(), FakeBatcher()
        self.engine = Engine(cast(Any, self.encoder), cast(Any, self.batcher))
        self.encoder_is_closed = False

    async def ask(self, question: Any) -> Any:
        return question()

    def _close(self) -> None:
        self.encoder_is_closed = True


class Opening:
    """Opens rooms for the model `b` when it is let."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()
        self.rooms = FakeRooms("b")

    def __call__(self, _rooms: object, _live: object, _undo: object) -> Any:
        self.begun.set()
        assert self.free.wait(20)
        return self.rooms

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 20)


def test_walks_that_wait_are_counted_whichever_model_they_wait_for() -> None:
    engines = Engines()
    for model_id, waiting in (("a", 2), ("b", 3)):
        rooms = FakeRooms(model_id)
        rooms.batcher.waiting = waiting
        engines.add(rooms.engine)
    assert engines.waiting == 5


def serving_of(opening: Opening, first: FakeRooms, **options: Any) -> Serving:
    engines = Engines()
    for rooms in (first, opening.rooms):
        engines.add(rooms.engine)
    return Serving(cast(Any, first), opening, engines, follows=True, **options)


def test_rooms_that_are_being_opened_are_taken_when_who_needed_them_first_left() -> None:
    opening, first = Opening(), FakeRooms("a")

    async def story() -> None:
        serving = serving_of(opening, first)
        caller = asyncio.create_task(serving._follow())
        await opening.until_begun()
        caller.cancel()
        opening.free.set()
        with suppress(asyncio.CancelledError):
            await caller
        assert serving.rooms is cast(Any, opening.rooms)
        await serving.close(drain_s=1)

    asyncio.run(story())
    for rooms in (first, opening.rooms):
        assert rooms.gallery.closed
        assert rooms.encoder_is_closed


def test_rooms_that_are_being_opened_at_the_end_are_closed() -> None:
    opening, first = Opening(), FakeRooms("a")

    async def story() -> None:
        serving = serving_of(opening, first, look_every_s=0)
        serving._watching = asyncio.create_task(serving._watch())
        await opening.until_begun()
        closing = asyncio.create_task(serving.close(drain_s=1))
        await asyncio.sleep(0)
        opening.free.set()
        await closing

    asyncio.run(story())
    assert opening.rooms.gallery.closed
    assert opening.rooms.encoder_is_closed


def test_a_gallery_that_is_opened_for_a_request_that_ends_is_closed() -> None:
    begun, free, closed = threading.Event(), threading.Event(), []

    def opened(_rooms: object, name: str, stack: ExitStack) -> Any:
        begun.set()
        assert free.wait(20)
        stack.callback(closed.append, name)
        return serving_of(Opening(), FakeRooms("b"))

    async def story() -> None:
        own = serving_of(Opening(), FakeRooms("b"))
        own.rooms.settings = SimpleNamespace(gallery="main")  # type: ignore[misc, assignment]
        galleries = Galleries(own, cast(Any, None), opened)
        request = asyncio.create_task(galleries.find("lab"))
        assert await asyncio.to_thread(begun.wait, 20)
        request.cancel()
        closing = asyncio.create_task(galleries.close(drain_s=1))
        await asyncio.sleep(0)
        free.set()
        with suppress(asyncio.CancelledError):
            await request
        await closing

    asyncio.run(story())
    assert closed == ["lab"]


def test_a_request_that_waits_for_a_gallery_when_the_service_ends_opens_none() -> None:
    begun, free, opened_names = threading.Event(), threading.Event(), []

    def opened(_rooms: object, name: str, stack: ExitStack) -> Any:
        opened_names.append(name)
        begun.set()
        assert free.wait(20)
        return serving_of(Opening(), FakeRooms("b"))

    async def story() -> None:
        own = serving_of(Opening(), FakeRooms("b"))
        own.rooms.settings = SimpleNamespace(gallery="main")  # type: ignore[misc, assignment]
        galleries = Galleries(own, cast(Any, None), opened)
        first = asyncio.create_task(galleries.find("lab"))
        assert await asyncio.to_thread(begun.wait, 20)
        closing = asyncio.create_task(galleries.close(drain_s=1))
        await asyncio.sleep(0)
        late = asyncio.create_task(galleries.find("yard"))
        await asyncio.sleep(0)
        free.set()
        await closing
        with pytest.raises(NotReadyError, match="stopping"):
            await late
        await first

    asyncio.run(story())
    assert opened_names == ["lab"]


def test_an_engine_is_not_closed_under_the_call_of_a_gallery_that_left_it() -> None:
    """One gallery opens rooms on an engine, another one uses it and leaves, the opening fails."""
    encoder, engines = FakeEncoder(), Engines()
    encoder.free.clear()

    def batched() -> Engine:
        batcher = Batcher(encoder.encode, batch_frames=64, queue_walks=4, wait_s=20)
        return Engine(encoder, batcher)

    def failing(_rooms: object, _live: object, undo: AsyncExitStack) -> Any:
        engine = engines.hold("b", batched)
        undo.push_async_callback(engines.release, engine, drain_s=20)
        held.append(engine)
        assert go_on.wait(20)
        raise StartError("another size")

    held: list[Engine] = []
    go_on = threading.Event()

    async def story() -> None:
        serving = Serving(cast(Any, FakeRooms("a")), failing, engines, follows=True)
        opening = asyncio.create_task(serving._follow())
        await asyncio.to_thread(wait_until, lambda: held)
        engine = engines.hold("b", batched)
        assert engine is held[0]
        engine.batcher.start()
        call = asyncio.create_task(engine.batcher.embed(np.zeros((5, 64, 44), np.uint8)))
        assert await asyncio.to_thread(encoder.entered.wait, 20)
        await engines.release(engine)
        go_on.set()
        await asyncio.to_thread(wait_until, lambda: engine.holders == 0)
        assert not encoder.closed
        encoder.free.set()
        assert (await call).embedding.shape == (88,)
        await opening
        assert encoder.closed
        assert not engine.batcher.running

    asyncio.run(story())
