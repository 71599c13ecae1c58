"""The running encoders with their queues, one per model, which galleries of a model share."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from model.encoder import Encoder
from service.batcher import Batcher


@dataclass
class Engine:
    """An encoder, its queue, and how many galleries hold them."""

    encoder: Encoder
    batcher: Batcher
    closes: bool = True
    """Whether to close the encoder after its last holder; otherwise whoever opened it does."""
    holders: int = 1


class Engines:
    """Hands out engines, and closes each after its last holder."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def add(self, engine: Engine) -> Engine:
        """Offer an engine to others; the caller is its first holder."""
        with self._lock:
            self._engines[engine.encoder.facts.model_id] = engine
        return engine

    @property
    def waiting(self) -> int:
        """Return how many walks wait for any of the encoders."""
        # Without the lock, which is held while a model is opened.
        return sum(engine.batcher.waiting for engine in tuple(self._engines.values()))

    def hold(self, model_id: str, opened: Callable[[], Engine]) -> Engine:
        """Hold a model's engine, opened if needed: that takes seconds, so not on the event loop."""
        with self._lock:
            engine = self._engines.get(model_id)
            if engine is None:
                engine = self._engines[model_id] = opened()
            else:
                engine.holders += 1
            return engine

    def share(self, engine: Engine) -> Engine:
        """Hold an engine that is already held by somebody."""
        with self._lock:
            engine.holders += 1
        return engine

    async def release(self, engine: Engine, *, drain_s: float | None = None) -> None:
        """Release an engine; the last holder waits until its work is finished, and closes it."""
        if await asyncio.to_thread(self._is_last, engine):
            await (
                engine.batcher.close() if drain_s is None else engine.batcher.close(drain_s=drain_s)
            )
            if engine.closes:
                await asyncio.to_thread(engine.encoder.close)

    def _is_last(self, engine: Engine) -> bool:
        with self._lock:
            engine.holders -= 1
            if engine.holders:
                return False
            self._engines = {k: one for k, one in self._engines.items() if one is not engine}
            return True
