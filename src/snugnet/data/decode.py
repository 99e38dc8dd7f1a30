"""Image files to pixels: any size and mode to square RGB, decoded once and kept as an array in the user's cache."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from snugnet.data.mapped import images_in
from snugnet.data.places import cache_folder
from snugnet.errors import DataError
from snugnet.files import put, storage_error

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # others' decoders are not asked: EPS starts a program
VERSION = 1  # part of the cache's key: raise it when decoding changes any pixel
THREADS = 4  # Pillow decodes outside the interpreter's lock
CHUNK, CHUNK_BYTES = 256, 2**26  # decoded ahead of the writing: so many images, and no more bytes than that


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def header_size(path: Path) -> tuple[int, int]:
    """(width, height) as stored, before any EXIF rotation, from the file's header alone. Raises DataError."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except Exception as error:
        raise _unreadable(path, error) from error


def open_rgb(file: Path | BinaryIO, name: str = "") -> Image.Image:
    """The image upright and in 8-bit RGB, whatever its mode; what is transparent becomes white. Messages call it by its
    path, or `name`. Raises DataError."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise Image.DecompressionBombError(f"{image.width} × {image.height} pixels are too many")
            return upright_rgb(image)
    except Exception as error:  # plugins raise what they like on hostile bytes
        raise _unreadable(name or file, error) from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """As `open_rgb`, of an opened image. Raises ValueError for pixels that have no 8-bit form."""
    return _rgb(ImageOps.exif_transpose(image))


def square(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to `size`, antialiased, then the centre; untouched where it has that size already."""
    return image if image.size == (size, size) else ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def read_pixels(root: Path, split: str, files: Sequence[Path], size: int, exact: bool) -> Tensor:
    """uint8 (N, 3, size, size), mapped from the cache, which is filled first where it is missing or outdated.

    `exact` refuses images of another size instead of resizing them. Raises DataError, StorageError.
    """
    if not files:
        return torch.empty(0, 3, size, size, dtype=torch.uint8)
    cached = cache_path(root, f"{split}-{size}", files, f"{exact}").with_suffix(".npy")
    mapped = _mapped(cached, len(files), size)
    if mapped is None:
        _write_cache(cached, decoded(root, files, size, exact), (len(files), 3, size, size))
        _remove_outdated(cached)
        mapped = np.load(cached, mmap_mode="c")
    return torch.from_numpy(mapped)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("its pixels have more than 16 bits; save it with 8 or 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def decoded(root: Path, files: Sequence[Path], size: int, exact: bool) -> Iterator[Any]:
    """uint8 (3, size, size) an image, in the order of `files`."""

    def decode(path: Path) -> Any:
        image = open_rgb(path)
        if exact and image.size != (size, size):
            raise DataError(
                f"{root}: images differ in size (the first is {size}×{size}, {path.name} is {image.width}×"
                f"{image.height}): set data.image_size to the side they shall be resized to"
            )
        return np.asarray(square(image, size)).transpose(2, 0, 1)

    with ThreadPoolExecutor(THREADS) as pool:
        ahead = min(CHUNK, images_in(CHUNK_BYTES, (3, size, size)))
        for start in range(0, len(files), ahead):
            yield from pool.map(decode, files[start : start + ahead])


def cache_path(root: Path, what: str, files: Sequence[Path], how: str) -> Path:
    """One name for these files as they are now: a file that is changed, added or renamed gives another, and so does
    another `how`, all that shapes what is kept besides them."""
    key = blake2b(f"{VERSION} {how}".encode(), digest_size=16)
    for path in files:
        stat = path.stat()
        key.update(f"\n{path} {stat.st_size} {stat.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    place = blake2b(os.fsencode(root.resolve()), digest_size=8).hexdigest()
    return cache_folder() / "decoded" / f"{root.name}-{place}" / f"{what}-{key.hexdigest()}"


def _remove_outdated(path: Path) -> None:
    """What the same split was before its files changed. Windows keeps a file that is mapped still."""
    what = path.name.rpartition("-")[0]
    for older in path.parent.glob(f"{what}-*.npy"):
        if older != path:
            with contextlib.suppress(OSError):
                older.unlink()


def _mapped(path: Path, count: int, size: int) -> Any:
    """The array, copied on write so that the file stays as it is; None where there is none or not a whole one."""
    try:
        array = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == (count, 3, size, size) and array.dtype == np.uint8 else None


def _write_cache(path: Path, images: Iterable[Any], shape: tuple[int, ...]) -> None:
    """Written piece by piece, not through a map: a full disk is then an error that can be told, not a crash."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for image in images:
                file.write(image.tobytes())
            file.flush()
            os.fsync(file.fileno())
        put(temporary, path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _unreadable(path: object, error: Exception) -> DataError:
    reason = "it is no image that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error)
    return DataError(
        f"{path}: cannot be read as an image ({reason}): replace or remove it; "
        f"`snug data check PATH` lists all such files"
    )
