"""A batcher over the fake encoder, walks for it, and scenes that are played with both."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from service.batcher import Batcher, Encoded
from tests.fakes import SIZE, FakeEncoder

Scene = Callable[[Batcher, FakeEncoder], Coroutine[Any, Any, None]]


def walk(frames: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(frames).integers(0, 256, (frames, *SIZE), np.uint8)


def play(
    scene: Scene,
    *,
    batch_frames: int = 100,
    queue_walks: int = 20,
    wait_s: float = 20,
    calls: int = 1,
    ahead: int = 0,
) -> None:
    async def run() -> None:
        encoder = FakeEncoder()
        batcher = Batcher(
            encoder.encode,
            batch_frames=batch_frames,
            queue_walks=queue_walks,
            wait_s=wait_s,
            calls=calls,
            ahead=ahead,
        )
        batcher.start()
        try:
            await asyncio.wait_for(scene(batcher, encoder), timeout=20)
        finally:
            encoder.free.set()
            await batcher.close()

    asyncio.run(run())


async def occupy(batcher: Batcher, encoder: FakeEncoder) -> asyncio.Task[Encoded]:
    """Keep the encoder busy with a walk of one frame until `encoder.free` is set."""
    encoder.free.clear()
    task = asyncio.create_task(batcher.embed(walk(1)))
    await asyncio.to_thread(encoder.entered.wait, 10)
    return task


async def enqueue(batcher: Batcher, *frames: int) -> list[asyncio.Task[Encoded]]:
    tasks = [asyncio.create_task(batcher.embed(walk(count))) for count in frames]
    before = batcher.waiting
    while batcher.waiting < before + len(frames):
        await asyncio.sleep(0)
    return tasks
