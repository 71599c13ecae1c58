"""What the tests of rebuilds share: walks, an encoder worked out by hand, a gallery of 23."""

from contextlib import closing, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from gallery import Gallery
from gallery.store import Store


class KilledError(Exception):
    pass


class FakeEncoder:
    """An embedding that can be worked out by hand: moments of the pixels, times a factor."""

    def __init__(self, model_id, length, factor, during=lambda walks: None):
        self.facts = SimpleNamespace(model_id=model_id, embedding_length=length, size=(8, 6))
        self.factor = factor
        self.during = during
        self.encoded = 0

    def encode(self, walks):
        self.during(walks)
        self.encoded += len(walks)
        return np.stack([self._one(walk) for walk in walks])

    def _one(self, walk):
        pixels = walk.reshape(-1).astype(np.float32) / 255
        powers = np.arange(1, self.facts.embedding_length + 1)
        return (self.factor * np.array([(pixels**p).mean() for p in powers])).astype(np.float32)


OLD = FakeEncoder("model-old", 4, 1.0)


def new_encoder(during=lambda walks: None):
    return FakeEncoder("model-new", 6, -3.0, during)


def walk(seed):
    frames = 3 + seed % 4
    return np.random.default_rng(seed).integers(0, 256, (frames, 8, 6), dtype=np.uint8)


def open_gallery(folder, encoder, master_key=None, index=None):
    facts = encoder.facts
    return Gallery.open(
        folder,
        model_id=facts.model_id,
        embedding_length=facts.embedding_length,
        master_key=master_key,
        index=index,
    )


def enroll(gallery, encoder, seed):
    (embedding,) = encoder.encode([walk(seed)])
    return gallery.enroll(f"s{seed}", embedding, silhouettes=walk(seed))


def assert_finds(gallery, encoder, seeds):
    for seed in seeds:
        found = gallery.identify(encoder.encode([walk(seed)])[0], limit=1)[0]
        assert (found.subject, found.distance) == (f"s{seed}", pytest.approx(0, abs=1e-6))


@contextmanager
def opened_store(folder):
    gallery = open_gallery(folder, OLD)
    for seed in range(23):
        enroll(gallery, OLD, seed)
    gallery.close()
    with closing(Store.open(folder)) as store:
        yield store
