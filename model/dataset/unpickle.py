"""Reads a pickle of one NumPy array of bytes without running any code in it.

There are three barriers, each of which would suffice on its own:

1. Before anything is loaded, every opcode is checked: only those that NumPy arrays consist of may
occur, in limited number, and none may ask for a large memo.
2. A pickle can refer only to the few names in `_STAND_INS`. What it gets for them is not NumPy's
but an immutable object of this module that can be called and nothing else.
3. The result must describe an array of uint8 or bool whose bytes are all present; the array itself
is made from them by `np.frombuffer`.

Written for OpenGait's silhouette files. Offline only: nothing that serves may import this module.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import DatasetError

MAX_BYTES = 512 * 1024**2
"""Maximum size of one file: half an hour of 128x128 pixels."""
MAX_OPCODES = 200
"""An array takes about forty."""

_OPCODES = frozenset(
    [
        *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
        *("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
        *("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
        "BYTEARRAY8",
    ]
)
_DTYPES = ("u1", "b1")


def load_array(data: bytes) -> NDArray[np.uint8] | NDArray[np.bool_]:
    """Return the pickled array of uint8 or bool, of any shape.

    Raises:
        DatasetError: the pickle is damaged, too large, or contains anything else.

    """
    if len(data) > MAX_BYTES:
        raise DatasetError(f"expected at most {MAX_BYTES} bytes, got {len(data)}")
    _check_opcodes(data)
    try:
        loaded = _ArrayUnpickler(io.BytesIO(data)).load()
    except DatasetError:
        raise
    # A hostile stack can make the unpickler fail in any way, but never runs foreign code.
    except Exception as error:
        raise DatasetError(f"expected a pickled array, got: {type(error).__name__}") from error
    if not isinstance(loaded, _Array) or loaded.made is None:
        raise DatasetError("expected a pickled NumPy array, got something else")
    return loaded.made


def _check_opcodes(data: bytes) -> None:
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if opcode.name not in _OPCODES:
                raise DatasetError(f"expected a pickled NumPy array, got the opcode {opcode.name}")
            memo = argument if opcode.name in ("BINPUT", "LONG_BINPUT") else 0
            if count >= MAX_OPCODES or not 0 <= int(memo or 0) <= MAX_OPCODES:
                raise DatasetError("expected a pickled NumPy array, got a pickle of more parts")
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise DatasetError(f"expected a whole pickle, got: {error}") from error


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        stand_in = _STAND_INS.get((module.replace("numpy.core", "numpy._core"), name))
        if stand_in is None:
            raise DatasetError(
                f"expected a pickled NumPy array, got a reference to {module}.{name}"
            )
        return stand_in

    def persistent_load(self, pid: Any) -> Any:
        raise DatasetError("expected a pickled NumPy array, got a reference to something outside")


class _StandIn:
    """What a pickle gets for a name: it can be called, and has no state that could be changed."""

    __slots__ = ("_make",)
    _make: Callable[..., Any]

    def __init__(self, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *values: Any) -> Any:
        return self._make(*values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise DatasetError("expected a pickled NumPy array, got an attempt to change its maker")

    def __setstate__(self, state: Any) -> None:
        raise DatasetError("expected a pickled NumPy array, got an attempt to change its maker")


class _Dtype:
    """A dtype by name; its state only repeats what the name says about a single byte."""

    __slots__ = ("kind",)

    def __init__(self, name: Any, *_: Any) -> None:
        self.kind = name.lstrip("|") if isinstance(name, str) else ""
        if self.kind not in _DTYPES:
            raise DatasetError("expected an array of uint8 or bool, got another dtype")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """An array before or after it receives its state."""

    __slots__ = ("made",)

    def __init__(self, *_: Any) -> None:
        self.made: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self.made = _array(data, dtype, shape, "F" if is_fortran else "C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.made = _array(data, dtype, shape, order)
    return array


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise DatasetError("expected the state of an array, got something else")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise DatasetError("expected the shape of an array, got something else")
    if len(shape) > 8 or math.prod(shape) != len(data):
        raise DatasetError(f"expected as many bytes as pixels, got {len(data)} of them")
    flat = np.frombuffer(data, np.uint8)
    shaped = flat.reshape(shape, order="F" if order == "F" else "C")
    return shaped if dtype.kind == "u1" else shaped != 0


def _encode(text: Any, encoding: Any) -> bytes:
    """Return the bytes that protocol 2 stores as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise DatasetError("expected bytes as text in latin1, got something else")
    return text.encode("latin1")


_STAND_INS = {
    ("numpy._core.multiarray", "_reconstruct"): _StandIn(_Array),
    ("numpy._core.numeric", "_frombuffer"): _StandIn(_from_buffer),
    ("numpy", "dtype"): _StandIn(_Dtype),
    # Only ever named as an argument of _reconstruct.
    ("numpy", "ndarray"): _StandIn(_Array),
    ("_codecs", "encode"): _StandIn(_encode),
    # Protocol 2 has no other way to store empty bytes.
    ("__builtin__", "bytes"): _StandIn(lambda: b""),
}
