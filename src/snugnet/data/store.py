"""A split as raw files that can be mapped into memory: written once, in the order of the images' content.

A store is a folder: `pixels.raw` (uint8 (N, C, H, W)), `hashes.raw` (uint8 (N, 16)), `labels.raw` (int64, little
endian), `names.json` and, last of all, `header.json`. It is written under another name, synced and renamed: whole or
not at all. Images are sorted by content hash, then label, then name, the order of every split: any run of them is a
random sample of the set, and the images with the lowest hashes, which is what val is made of, lie together.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snugnet.data.images import Images
from snugnet.data.mapped import Mapped
from snugnet.errors import StorageError
from snugnet.files import is_part, storage_error, sync_folder, write_bytes, write_json
from snugnet.units import show_bytes

VERSION = 1
BUCKET_BYTES = 2**26  # sorted in memory at a time
MOST_BUCKETS = 200  # open files; a larger set has larger buckets


@dataclass(frozen=True)
class Contents:
    """What is to be stored: `pixels` gives uint8 arrays `shape` (C, H, W), one for each label and name."""

    shape: tuple[int, ...]
    labels: Sequence[int]
    names: Sequence[str]
    classes: tuple[str, ...]

    @property
    def image_bytes(self) -> int:
        return int(np.prod(self.shape))

    @property
    def buckets(self) -> int:
        return min(MOST_BUCKETS, -(-len(self.labels) * self.image_bytes // BUCKET_BYTES))

    @property
    def record(self) -> np.dtype[Any]:
        """An image on its way through a bucket."""
        return np.dtype([("hash", "u1", 16), ("index", "<i8"), ("pixels", "u1", self.shape)])


def opened(folder: Path) -> Images | None:
    """The images of a store, mapped; None where there is none or not a whole one."""
    try:
        header = json.loads((folder / "header.json").read_text(encoding="utf-8"))
        names = tuple(json.loads((folder / "names.json").read_text(encoding="utf-8")))
        count, *shape = header["shape"]
        pixels = _mapped(folder / "pixels.raw", (count, *shape))
        hashes = _mapped(folder / "hashes.raw", (count, 16))
        labels = np.fromfile(folder / "labels.raw", "<i8").astype(np.int64)
        whole = header["version"] == VERSION and len(labels) == len(names) == count
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Images(Mapped.of([pixels], [hashes]), torch.from_numpy(labels), names) if whole else None


def write(folder: Path, contents: Contents, pixels: Iterable[Any]) -> None:
    """Two passes, each from front to back, with a few hundred megabytes of memory: into buckets by hash, then each
    bucket sorted. Raises StorageError, and leaves nothing half."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        temporary.mkdir(parents=True)
        _require_space(folder, contents)
        _fill_buckets(temporary, contents, pixels)
        _join_buckets(temporary, contents)
        sync_folder(temporary)
        shutil.rmtree(folder, ignore_errors=True)  # what `opened` refused
        temporary.replace(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def made(folder: Path, contents: Contents, pixels: Callable[[], Iterable[Any]]) -> Images:
    """The images of the store, written first unless another process has just done so; older ones beside it go."""
    with alone(folder):
        if (found := opened(folder)) is None:
            write(folder, contents, pixels())
            found = opened(folder)
            assert found is not None, "what was written whole can be opened"
        for older in folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*"):
            if older != folder:
                shutil.rmtree(older, ignore_errors=True)
        return found


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits for another process that writes a store beside `folder`; what a killed one left is removed."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / ".lock").open("a")
    except OSError as error:
        raise storage_error(folder, error) from error
    with lock:
        if _locked(lock.fileno()):
            for part in filter(is_part, folder.parent.iterdir()):
                if part.is_dir():
                    shutil.rmtree(part, ignore_errors=True)
        yield


def _locked(handle: int) -> bool:
    """Whether this system has such locks; they end with the process."""
    try:
        import fcntl
    except ImportError:
        return False
    fcntl.flock(handle, fcntl.LOCK_EX)
    return True


def _require_space(folder: Path, contents: Contents) -> None:
    """Before hours of decoding, not after them."""
    pixels = len(contents.labels) * contents.image_bytes
    needed = pixels + pixels // max(1, contents.buckets)  # a bucket is removed once it is sorted
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise StorageError(
            f"{folder}: the decoded images take {show_bytes(needed)}, and {show_bytes(free)} are free: "
            "free some space, or set SNUG_CACHE to a folder on another disk"
        )


def _fill_buckets(folder: Path, contents: Contents, pixels: Iterable[Any]) -> None:
    record = np.zeros(1, contents.record)
    with ExitStack() as stack:
        files = [stack.enter_context(_bucket(folder, number).open("wb")) for number in range(contents.buckets)]
        for index, image in enumerate(pixels):
            content = blake2b(image.tobytes(), digest_size=16).digest()
            record[0] = np.frombuffer(content, np.uint8), index, image
            files[int.from_bytes(content[:4], "big") * len(files) >> 32].write(record.tobytes())


def _join_buckets(folder: Path, contents: Contents) -> None:
    order: list[int] = []
    with (folder / "pixels.raw").open("wb") as pixels, (folder / "hashes.raw").open("wb") as hashes:
        for number in range(contents.buckets):
            records = np.fromfile(_bucket(folder, number), contents.record)
            rows = _sorted_rows(records, contents)
            for row in rows:
                pixels.write(records["pixels"][row].tobytes())
            hashes.write(records["hash"][rows].tobytes())
            order += records["index"][rows].tolist()
            _bucket(folder, number).unlink()
        for file in (pixels, hashes):
            file.flush()
            os.fsync(file.fileno())
    write_bytes(folder / "labels.raw", np.array([contents.labels[index] for index in order], "<i8").tobytes())
    write_bytes(folder / "names.json", json.dumps([contents.names[index] for index in order]).encode())
    header = {"version": VERSION, "shape": [len(order), *contents.shape], "classes": list(contents.classes)}
    write_json(folder / "header.json", header)


def _sorted_rows(records: Any, contents: Contents) -> list[int]:
    content, indices = [row.tobytes() for row in records["hash"]], records["index"].tolist()
    labels, names = contents.labels, contents.names
    return sorted(range(len(records)), key=lambda row: (content[row], labels[indices[row]], names[indices[row]]))


def _bucket(folder: Path, number: int) -> Path:
    return folder / f"bucket-{number:03d}"


def _mapped(path: Path, shape: tuple[int, ...]) -> Any:
    """Raises ValueError where the file is not exactly as long as it must be."""
    if path.stat().st_size != np.prod(shape):
        raise ValueError("another length")
    return np.memmap(path, np.uint8, mode="r", shape=shape)
