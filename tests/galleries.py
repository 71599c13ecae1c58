"""Small galleries, and made-up embeddings and walks to put into them."""

import numpy as np

from gallery import Gallery

LENGTH = 8


def open_gallery(folder, model_id="model-a", length=LENGTH, **options):
    return Gallery.open(folder, model_id=model_id, embedding_length=length, **options)


def embedding(seed, length=LENGTH):
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


def walk(seed, frames=4):
    return np.random.default_rng(seed).integers(0, 256, (frames, 8, 6), dtype=np.uint8)
