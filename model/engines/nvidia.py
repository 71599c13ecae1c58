"""What of NVIDIA is here, asked of the driver itself."""

import ctypes
from collections.abc import Callable
from typing import Any

DRIVER = "libcuda.so.1"


def gpus(load: Callable[[str], Any] = ctypes.CDLL) -> int:
    """Count the GPUs that the driver lets this process use; 0 where there is no driver.

    ONNX Runtime built for CUDA names that provider on every machine, and finds out only while a
    session is made, with lines of its own on stderr, that nothing is there to run it.
    """
    try:
        driver = load(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value
