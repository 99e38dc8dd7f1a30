"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snugnet.errors import StorageError

PIECE_BYTES = 2**22  # read at a time
_BINARY: int = getattr(os, "O_BINARY", 0)  # elsewhere lines would be given other ends
_STORAGE = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "no permission to write here; choose another folder",
    errno.EFBIG: "the file is larger than this system allows; free the limit or choose another folder",
    errno.EIO: "the disk reports an error; check it",
    errno.ENOTDIR: "a file stands where a folder is meant; choose another folder",
    errno.EEXIST: "a file stands where a folder is meant; choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def storage_error(path: Path, error: OSError) -> StorageError:
    """The clear form of an OSError met while writing `path`."""
    remedy = _STORAGE.get(error.errno or 0, "check the folder and the disk")
    return StorageError(f"{path}: cannot be written ({error.strerror or error}): {remedy}, then repeat the command")


def write_bytes(path: Path, data: bytes) -> int:
    """Writes `data` to a temporary name, syncs, renames; returns the size by stat(). Raises StorageError."""
    with staged(path, data) as temporary:
        put(temporary, path)
        return path.stat().st_size


@contextlib.contextmanager
def staged(path: Path, data: bytes | bytearray) -> Iterator[Path]:
    """The name beside `path` under which `data` lies, synced, to be put in its place; it does not outlive the block.

    Raises StorageError, for an OSError of the block too.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        make_folder(path.parent)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o666)
        try:
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        yield temporary
    except OSError as error:
        raise storage_error(path, error) from error
    finally:  # an interrupt leaves nothing either
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def put(source: Path, path: Path) -> None:
    """Renames a file of the same folder, in place of what is there, for good."""
    source.replace(path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """For good; nothing where there is none. Raises StorageError."""
    try:
        if path.exists():
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def prove(temporary: Path, path: Path, data: bytes | bytearray) -> None:
    """Reads back what is to become `path`, from the disk where the system can be asked to forget it. Raises
    StorageError."""
    view = memoryview(data)
    with temporary.open("rb", buffering=0) as file:
        if sys.platform == "linux":
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        seen = 0
        while piece := file.read(PIECE_BYTES):
            if view[seen : seen + len(piece)] != piece:
                break
            seen += len(piece)
    if seen != len(view):
        raise StorageError(
            f"{path}: the disk must give back the {len(view):,} bytes that were written, and does not from byte "
            f"{seen:,} on; what was there before is kept: check the disk, then repeat the command"
        )


def _write_all(handle: int, data: bytes | bytearray) -> None:
    left = memoryview(data)
    while left:
        written = os.write(handle, left)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left = left[written:]


def is_part(path: Path) -> bool:
    """Whether this is what a killed `write_bytes` left."""
    return path.name.startswith(".") and path.name.endswith(".part")


def make_folder(folder: Path) -> None:
    """With its parents, each new name for good."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """A name is durable only once its folder is synced. Not every system allows it; those need it less."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(handle)


def lock(handle: int, *, wait: bool) -> bool:
    """Keeps other processes from locking an open file; False where one has, and `wait` is not. The system frees what a
    dead process held. True on systems without such locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def write_text(path: Path, text: str) -> int:
    return write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> int:
    return write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Adds one line and syncs it, behind a torn one on a line of its own. Raises StorageError.

    What cannot be added whole is taken back. A torn last line, which a kill leaves, is the reader's to drop.
    """
    try:
        make_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
        try:
            lock(handle, wait=True)
            size = os.lseek(handle, 0, os.SEEK_END)
            os.lseek(handle, max(0, size - 1), os.SEEK_SET)
            torn = b"\n" if os.read(handle, 1) not in (b"", b"\n") else b""
            try:
                _write_all(handle, torn + line.encode() + b"\n")
                os.fsync(handle)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
        if not size:
            sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
