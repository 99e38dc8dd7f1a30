"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

from snugnet.errors import StorageError

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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
        return path.stat().st_size
    except OSError as error:
        raise storage_error(path, error) from error
    finally:  # an interrupt leaves nothing either
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def is_part(path: Path) -> bool:
    """Whether this is what a killed `write_bytes` left."""
    return path.name.startswith(".") and path.name.endswith(".part")


def sync_folder(folder: Path) -> None:
    """A rename is durable only once its folder is synced. Not every system allows it; those need it less."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> int:
    return write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> int:
    return write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Adds one line and syncs it, behind a torn one on a line of its own. Raises StorageError.

    A torn last line is the reader's to drop.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = b"\n" if file.read(1) not in (b"", b"\n") else b""
            file.write(torn + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, error) from error
