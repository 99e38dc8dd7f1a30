"""The official CIFAR archives, fetched once into the user's cache."""

from __future__ import annotations

import http.client
import os
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import IO

from snugnet.data.places import cache_folder
from snugnet.errors import StorageError
from snugnet.files import storage_error

TIMEOUT_S = 10
PIECE_BYTES = 2**20
Report = Callable[[int, int], None]  # bytes received, bytes in all (0 where the server does not say)


@dataclass(frozen=True)
class Archive:
    url: str
    md5: str
    folder: str  # what it unpacks to


ARCHIVES = {
    "cifar10": Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        "cifar-10-batches-py",
    ),
    "cifar100": Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        "cifar-100-python",
    ),
}


def silent(received: int, total: int) -> None:
    """Reports nothing."""


def fetch(name: str, report: Report = silent) -> Path:
    """The unpacked folder of `name` in the cache: downloaded, checked, and renamed into place when it is whole.

    Raises StorageError, which says how to put the data in place by hand.
    """
    archive = ARCHIVES[name]
    if os.environ.get("SNUG_OFFLINE") == "1":
        raise _failed(name, "SNUG_OFFLINE=1 forbids downloads")
    target = cache_folder() / archive.folder
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as scratch:
            packed = Path(scratch) / "archive"
            _receive(name, packed, report)
            with tarfile.open(packed) as tar:
                tar.extractall(scratch, filter="data")
            _put(Path(scratch) / archive.folder, target)
    except tarfile.TarError as error:
        raise _failed(name, f"{archive.url} cannot be unpacked: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise storage_error(target, error) from error
    return target


def _receive(name: str, path: Path, report: Report) -> None:
    """Writes the archive to `path`, and holds it against its MD5."""
    archive, received = ARCHIVES[name], md5(usedforsecurity=False)
    with path.open("wb") as file:
        try:
            response = urllib.request.urlopen(archive.url, timeout=TIMEOUT_S)
        except (OSError, http.client.HTTPException) as error:
            raise _failed(name, f"{archive.url} cannot be reached: {_reason(error)}") from error
        with response:
            total = int(response.headers.get("Content-Length") or 0)
            while piece := _piece(name, response):
                received.update(piece)
                file.write(piece)
                report(file.tell(), total)
    if received.hexdigest() != archive.md5:
        raise _failed(name, f"{archive.url} must have the MD5 {archive.md5}; received was {received.hexdigest()}")


def _piece(name: str, response: IO[bytes]) -> bytes:
    try:
        return response.read(PIECE_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _failed(name, f"the download of {ARCHIVES[name].url} broke off: {_reason(error)}") from error


def _put(folder: Path, target: Path) -> None:
    """Renames; what is there already, incomplete or from a process that was faster, goes with the scratch folder."""
    if target.exists():
        target.rename(folder.with_name("replaced"))
    folder.rename(target)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _failed(name: str, what: str) -> StorageError:
    folder = ARCHIVES[name].folder
    return StorageError(
        f"{name}: {what}: set SNUG_DATA to the folder that holds {folder}, or put {folder} under ./data"
    )
