"""Counts NVIDIA GPUs by asking the driver itself."""

import ctypes
from collections.abc import Callable
from typing import Any

DRIVER = "libcuda.so.1"


def gpus(load: Callable[[str], Any] = ctypes.CDLL) -> int:
    """Return how many GPUs the driver lets this process use; 0 without a driver.

    ONNX Runtime built for CUDA lists that provider on every machine. That there is no GPU to run it
    turns out only when a session is created, with messages of its own on stderr.
    """
    try:
        driver = load(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value
