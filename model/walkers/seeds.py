"""Random streams identified by what they decide, so that order and workers make no difference."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream of random numbers decides."""

    BODY = 1
    STYLE = 2
    CLOTHES = 3
    BAG = 4
    COAT = 5
    SESSION = 6
    CAMERA = 7
    SEGMENTATION = 8
    BACKGROUND = 9


def stream(seed: int, what: Stream, *keys: int) -> np.random.Generator:
    """Return the generator for one decision, for example `stream(seed, Stream.BODY, subject)`."""
    return np.random.default_rng(np.random.SeedSequence([seed, int(what), *keys]))
