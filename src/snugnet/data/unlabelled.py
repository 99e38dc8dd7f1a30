"""Images that come without labels: files and folders of them, arrays, CIFAR's and Kaggle's pickles and records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snugnet.data import unpickle
from snugnet.data.cifar import IMAGE_BYTES
from snugnet.data.decode import is_image
from snugnet.errors import DataError
from snugnet.units import show_bytes

PICKLES, ARRAYS, RECORDS = (".pkl", ".pickle"), (".npy", ".npz"), ".bin"
LABEL_BYTES = (1, 2)  # before the pixels of a record: CIFAR-10, CIFAR-100


@dataclass(frozen=True)
class Unlabelled:
    """An image, not decoded yet, or why there is none. `id`: its number, in what holds several."""

    name: str
    image: Path | bytes | Any | DataError  # a file, the bytes of one, an array (H, W, C)
    id: int | None = None


def image_files(path: Path) -> list[Path]:
    """A file itself; of a folder the image files in it and below, in natural order. Hidden ones are left out, and links
    to folders not followed. Raises DataError where there is none."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give images")
    try:
        found = list(_inside(path)) if path.is_dir() else [path]
    except OSError as error:
        raise DataError(
            f"{error.filename or path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not found:
        raise DataError(f"{path}: holds no image; give a folder with some, or images")
    return found


def stream(files: Sequence[Path]) -> Iterator[Unlabelled]:
    """All images of files, one after the other, those of arrays, pickles and records with their numbers."""
    for file in files:
        try:
            yield from _held(file)
        except DataError as error:
            yield Unlabelled(shown(file), error)


def shown(path: Path) -> str:
    """Its name as any output can have it: a file system holds bytes that no encoding knows."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _inside(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir(), key=_natural):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from () if entry.is_symlink() else _inside(entry)
        elif is_image(entry):
            yield entry


def _natural(path: Path) -> list[tuple[int, str]]:
    """ "2.png" before "10.png"."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)] + [(-1, path.name)]


def _held(file: Path) -> Iterator[Unlabelled]:
    suffix = file.suffix.lower()
    if suffix in ARRAYS:
        yield from _of_arrays(file)
    elif suffix == RECORDS:
        yield from _numbered(shown(file), _records(file))
    elif suffix in PICKLES or (not is_image(file) and _begins_as_pickle(file)):
        yield from _of_pickle(file)
    else:
        yield Unlabelled(shown(file), file)


def _numbered(name: str, images: Any, ids: Sequence[int] | None = None) -> Iterator[Unlabelled]:
    """Of arrays (N, H, W, C)."""
    for number, image in zip(ids or range(len(images)), images, strict=True):
        yield Unlabelled(f"{name}[{number}]", np.array(image), number)


def _of_arrays(file: Path) -> Iterator[Unlabelled]:
    """Of a .npy as it lies on disk, of a .npz one array after the other."""
    for name, array in _arrays(file):
        if array.ndim == 4:
            yield from _numbered(name, array)
        else:
            yield Unlabelled(name, np.array(array))


def _arrays(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        if file.suffix.lower() == ".npy":
            yield shown(file), np.lib.format.open_memmap(file, mode="r")
            return
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            _check_sizes(archive.zip)
            for key in archive.files:
                yield f"{shown(file)}:{key}", archive[key]
    except Exception as error:  # forged or torn files raise anything
        reason = " ".join(str(error).split())[:100]
        raise DataError(
            f"{shown(file)}: cannot be read as arrays ({reason}): write it again with numpy.save, uint8, not objects"
        ) from error


def _check_sizes(archive: Any) -> None:
    """A few bytes may unpack to as many as there is memory for."""
    for each in archive.infolist():
        if each.file_size > unpickle.LARGEST_BYTES:
            raise ValueError(f"{each.filename[:60]} unpacks to {show_bytes(each.file_size)}, more than 1 GiB")


def _records(file: Path) -> Any:
    """uint8 (N, 32, 32, 3) of a file of the binary version of CIFAR."""
    try:
        flat = np.memmap(file, np.uint8, mode="r") if file.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        raise DataError(f"{shown(file)}: cannot be read ({error.strerror}): check its permissions") from error
    sizes = [count + IMAGE_BYTES for count in LABEL_BYTES]
    size = next((each for each in sizes if flat.size and not flat.size % each), None)
    if size is None:
        raise DataError(
            f"{shown(file)}: is {flat.size:,} B, and whole images of {sizes[0]:,} or {sizes[1]:,} B are expected, as "
            "CIFAR's binary version has them: get the file again"
        )
    return _channels_last(flat.reshape(-1, size)[:, -IMAGE_BYTES:])


def _of_pickle(file: Path) -> Iterator[Unlabelled]:
    held, name = unpickle.read(file), shown(file)
    pixels: Any = held.get("data")
    ids = held.get("ids")
    known = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
    if known and pixels.shape[1:] == (IMAGE_BYTES,):
        images = _channels_last(pixels)
    elif known and pixels.ndim == 4:
        images = pixels
    else:
        kind = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else f"a {type(pixels).__name__}"
        seen = f"its data is {kind}" if "data" in held else "it has no data"
        raise DataError(
            f"{name}: must hold data, uint8 (images, {IMAGE_BYTES}) or (images, H, W, C), as CIFAR and Kaggle have "
            f"it; {seen}: give such a file, or images"
        )
    yield from _numbered(name, images, None if ids is None else _ids(name, ids, len(images)))


def _ids(name: str, value: Any, count: int) -> list[int]:
    flat = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(flat, list) or len(flat) != count or not all(isinstance(each, int) for each in flat):
        raise DataError(f"{name}: ids must be a whole number for each of {count:,} images: get the file again")
    return flat


def _channels_last(rows: Any) -> Any:
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _begins_as_pickle(file: Path) -> bool:
    """Whether it begins as pickles of protocol 2 and later do, and no image."""
    try:
        with file.open("rb") as opened:
            return opened.read(1) == b"\x80"
    except OSError:
        return False
