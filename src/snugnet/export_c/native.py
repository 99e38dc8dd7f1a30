"""The C of a net run here: compiled once for a machine into the user's cache, then called with a net's numbers."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from snugnet import files
from snugnet.data.places import cache_folder
from snugnet.errors import MissingExtra, StorageError
from snugnet.export_c.program import ARRAYS, KINDS, NUMBERS, Array, Operation, Program

RUNTIME = Path(__file__).parent / "runtime"
FLAGS = ("-std=c99", "-O3", "-march=native", "-shared", "-fPIC")
SLACK = 64  # bytes behind an arena that whole vectors may touch


class _Op(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        *((name if name != "in" else "in_", ctypes.c_int32) for name in NUMBERS),
        *((name, ctypes.c_void_p) for name in ARRAYS),
        ("packed", ctypes.c_void_p),
    )


class _Net(ctypes.Structure):
    _fields_ = (
        ("ops", ctypes.POINTER(_Op)),
        *((name, ctypes.c_int32) for name in ("count", "height", "width", "channels", "classes", "input")),
        ("pixels", ctypes.c_void_p),
        ("steps", ctypes.c_void_p),
    )


def compiler() -> str:
    """Raises MissingExtra."""
    wanted = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), "cc")
    if shutil.which(wanted) is None:
        raise MissingExtra(
            f"a C compiler is needed to run C, and there is no {wanted}; "
            "install one (apt install gcc), or set CC to its name"
        )
    return wanted


@lru_cache
def version(name: str) -> str:
    """The first line that a compiler says of itself."""
    said = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0] if said else name


def number(name: str) -> str:
    """ "12.2.0" """
    found = re.search(r"\d+(\.\d+)+", version(name))
    return found[0] if found else ""


def compiled(flags: Sequence[str] = FLAGS) -> Path:
    """The compiled runtime, known by its source, compiler, flags and machine. Raises MissingExtra, StorageError."""
    name = compiler()
    sources = sorted(RUNTIME.glob("snug*.[ch]"))
    digest = hashlib.sha256(repr((version(name), flags, target(name))).encode())
    for source in sources:
        digest.update(source.read_bytes())
    path = cache_folder() / "c" / f"{digest.hexdigest()[:24]}.so"
    if path.is_file():
        return path
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [name, *flags, "-o", str(part), *(str(source) for source in sources if source.suffix == ".c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StorageError(f"{path}: {name} could not compile it: {done.stderr.strip()[-500:]}")
        part.replace(path)
    except OSError as error:
        raise files.storage_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)
    return path


@lru_cache
def target(name: str) -> str:
    """What `-march=native` means here: a cache may be shared by machines."""
    said = subprocess.run([name, "-march=native", "-Q", "--help=target"], capture_output=True, text=True, check=False)
    return said.stdout


class Native:
    """A program ready to run: uint8 images (H, W, C) to sums or logits. `fast`: by vectors, where this machine has
    those that snug_fast.c knows; the numbers are the same."""

    def __init__(self, program: Program, *, fast: bool = True, path: Path | None = None) -> None:
        library = ctypes.CDLL(str(path or compiled()))
        self.shape = (program.side, program.side, program.channels)
        self._held: list[Array] = []
        self._ops = (_Op * len(program.operations))(*map(self._op, program.operations))
        shape = (*self.shape, program.classes, program.input)
        constants = (self._address(program.pixels), self._address(program.steps))
        self._net = _Net(self._ops, len(self._ops), *shape, *constants)
        self.is_fast = fast and self._prepare(library)
        self._sums, self._logits = np.zeros(program.classes, np.int64), np.zeros(program.classes, np.float32)
        self._run = library.snug_fast_run if self.is_fast else library.snug_run
        self._to_logits = library.snug_logits
        self._run.argtypes, self._to_logits.argtypes = [ctypes.c_void_p] * 4, [ctypes.c_void_p] * 3
        arena = self._zeros(program.plan.size_bytes + SLACK)
        sums = self._sums.ctypes.data
        self._places = (
            (ctypes.addressof(self._net), arena, sums),
            (ctypes.addressof(self._net), sums, self._logits.ctypes.data),
        )

    def _prepare(self, library: ctypes.CDLL) -> bool:
        """Whether something is faster than the portable program."""
        library.snug_fast_bytes.restype = ctypes.c_size_t
        size = library.snug_fast_bytes(ctypes.byref(self._net))
        if size:
            library.snug_fast_prepare(ctypes.byref(self._net), self._ops, ctypes.c_void_p(self._zeros(size)))
        return bool(size)

    def _op(self, operation: Operation) -> _Op:
        kind = KINDS.index(operation.kind)
        numbers = [operation.numbers.get(name, 0) for name in NUMBERS]
        arrays = [operation.arrays.get(name) for name in ARRAYS]
        return _Op(kind, *numbers, *(None if each is None else self._address(each) for each in arrays), None)

    def _address(self, array: Array) -> int:
        """Of an array that is kept as long as this."""
        self._held.append(np.ascontiguousarray(array))
        return int(self._held[-1].ctypes.data)

    def _zeros(self, size: int) -> int:
        """The address of so many bytes, at a multiple of 64."""
        return -(-self._address(np.zeros(size + 64, np.uint8)) // 64) * 64

    def run(self, image: int) -> Array:
        """The logits of the image at an address; the next run writes over them."""
        net, arena, sums = self._places[0]
        self._run(net, arena, image, sums)
        self._to_logits(*self._places[1])
        return self._logits

    def __call__(self, images: Array) -> tuple[Array, Array]:
        """Sums int64 and logits float32 (N, classes) of uint8 images (N, H, W, C)."""
        assert images.dtype == np.uint8
        assert images.shape[1:] == self.shape
        found = []
        for image in np.ascontiguousarray(images):
            logits = self.run(image.ctypes.data).copy()
            found.append((self._sums.copy(), logits))
        return np.stack([sums for sums, _ in found]), np.stack([logits for _, logits in found])
