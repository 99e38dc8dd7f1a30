"""The pickles that CIFAR and Kaggle come in, read without running what they ask for.

A pickle is a program. Here every name it may call is one of ours below: nothing of numpy is handed to it, not even
`ndarray`, so no state of the file reaches numpy's own `__setstate__`. What it can build is a dict of plain values and
arrays of whole numbers.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snugnet.errors import DataError
from snugnet.units import show_bytes

LARGEST_BYTES = 2**30
_TYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}


class _RefusedNameError(Exception):
    pass


class _Type:
    """Stands in for numpy.dtype."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = _text(code)
        if self.code not in _TYPES:
            raise ValueError(f"it holds an array of type {self.code!r}, and only whole numbers are read")

    def __setstate__(self, state: Any) -> None:  # (version, byte order, ...)
        order = _text(state[1])
        self.code = (order if order in "<>" else "") + self.code


class _Array:
    """Stands in for numpy.ndarray; `array` is filled by the BUILD that follows."""

    __slots__ = ("array",)

    def __init__(self, *_: Any) -> None:
        self.array = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, raw = state
        self.array = _filled(raw, kind, shape, "F" if is_fortran else "C")


def _filled(raw: Any, kind: Any, shape: Any, order: Any) -> Any:
    if not isinstance(kind, _Type) or not isinstance(raw, bytes | bytearray):
        raise ValueError("an array in it has no plain data")
    if not all(isinstance(side, int) and 0 <= side <= LARGEST_BYTES for side in shape):
        raise ValueError("an array in it has no plain shape")  # the product with a tuple would repeat the tuple
    flat = np.frombuffer(raw, np.dtype(kind.code))
    if math.prod(shape) != flat.size:
        raise ValueError(f"an array in it holds {flat.size:,} numbers for the shape {tuple(shape)}")
    return flat.reshape(shape, order=order)


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.array = _filled(raw, kind, shape, order)
    return made


def _encode(text: str, _encoding: str = "latin1") -> bytes:  # how Python 3 writes bytes in protocol 2
    return text.encode("latin1")


class _Maker(NamedTuple):
    """What a name in the pickle becomes: callable, and with no attribute that the pickle could set."""

    make: Callable[..., Any]

    def __call__(self, *values: Any) -> Any:
        return self.make(*values)


_NAMES: Mapping[tuple[str, str], _Maker] = {
    ("numpy", "ndarray"): _Maker(_Array),
    ("numpy", "dtype"): _Maker(_Type),
    ("_codecs", "encode"): _Maker(_encode),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Maker(_Array) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Maker(_from_buffer) for core in ("core", "_core")},
}


# Python's own unpickler in Python: the one in C allocates whatever a forged memo index says, 16 GB for ten bytes.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if not name:  # cut in the middle of it
            raise EOFError
        if (module, name) not in _NAMES:
            raise _RefusedNameError(_printable(f"{module}.{name}"))
        return _NAMES[module, name]


def read(path: Path) -> dict[str, Any]:
    """The dict that `path` holds: keys as str, arrays as numpy arrays, a Python 2 str as bytes. Raises DataError."""
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise DataError(f"{path}: is {show_bytes(size)}, and no data set's pickle is over 1 GiB: it was not loaded")
        data = path.read_bytes()
        if not data.endswith(pickle.STOP):
            raise EOFError
        value = _Reader(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__} where a dict is expected")
        return {_text(key): item.array if isinstance(item, _Array) else item for key, item in value.items()}
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}: check the file and its permissions") from error
    except _RefusedNameError as error:
        raise DataError(
            f"{path}: wants to run code ({error}) and was not loaded: use the file from the official archive"
        ) from None
    except Exception as error:  # a forged or torn pickle raises anything
        raise DataError(f"{path}: is damaged or no data pickle: {_reason(error)}: get the file again") from error


def _text(value: Any) -> str:
    text = value.decode("latin1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise ValueError(f"it holds a {type(value).__name__} where a name is expected")
    return text


def _reason(error: Exception) -> str:
    return "it ends too early" if isinstance(error, EOFError) else _printable(str(error)) or type(error).__name__


def _printable(text: str) -> str:
    """Forged names may hold control characters, and go to a terminal."""
    return ascii(text[:100])[1:-1]
