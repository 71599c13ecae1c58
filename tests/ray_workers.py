"""What workers of Ray are told to do by tests; they import it by its name."""

import os
import signal

import numpy as np

from tests.rebuilding import FakeEncoder, walk


def nothing(walks):
    pass


def opener(path, during=nothing):
    return FakeEncoder("model-new", 6, float(path.read_bytes()), during)


def dies_once(mark, walks):
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def dies_at(seed, walks):
    if any(np.array_equal(one, walk(seed)) for one in walks):
        os.kill(os.getpid(), signal.SIGKILL)


def fails_at(seed, walks):
    if any(np.array_equal(one, walk(seed)) for one in walks):
        raise ValueError("a walk that no model likes")
