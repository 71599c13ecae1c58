"""The encoders at work, one a model, each with its queue: galleries of one model share them."""

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
    """Whether the encoder is closed after its last holder, or is its giver's to close."""
    holders: int = 1


class Engines:
    """Gives out engines and closes each after its last holder."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def add(self, engine: Engine) -> Engine:
        """Let others share an engine, whose first holder is the caller."""
        with self._lock:
            self._engines[engine.encoder.facts.model_id] = engine
        return engine

    @property
    def waiting(self) -> int:
        """Walks that wait for any of the encoders."""
        # Not under the lock, which is held while a model is opened.
        return sum(engine.batcher.waiting for engine in tuple(self._engines.values()))

    def hold(self, model_id: str, opened: Callable[[], Engine]) -> Engine:
        """Share the engine of a model, or open one; may take seconds, so not on the event loop."""
        with self._lock:
            engine = self._engines.get(model_id)
            if engine is None:
                engine = self._engines[model_id] = opened()
            else:
                engine.holders += 1
            return engine

    def share(self, engine: Engine) -> Engine:
        """Hold an engine that somebody holds already."""
        with self._lock:
            engine.holders += 1
        return engine

    async def release(self, engine: Engine, *, drain_s: float | None = None) -> None:
        """Give an engine back; after its last holder it finishes what is in work and is closed."""
        if await asyncio.to_thread(self._is_last, engine):
            await (
                engine.batcher.close() if drain_s is None else engine.batcher.close(drain_s=drain_s)
            )
            if engine.closes:
                await asyncio.to_thread(engine.encoder.close)

    def let_go(self, engine: Engine) -> None:
        """Give back an engine that was held for rooms which then could not be opened."""
        if self._is_last(engine) and engine.closes:
            engine.encoder.close()

    def _is_last(self, engine: Engine) -> bool:
        with self._lock:
            engine.holders -= 1
            if engine.holders:
                return False
            self._engines = {k: one for k, one in self._engines.items() if one is not engine}
            return True
