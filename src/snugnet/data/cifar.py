"""CIFAR-10 and CIFAR-100 as Toronto publishes them: pickles of the "Python version", records of the "binary version".

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snugnet.data import unpickle
from snugnet.data.images import DataInfo, Images, Split
from snugnet.data.mapped import Mapped
from snugnet.errors import DataError

IMAGE_BYTES = 3 * 32 * 32

# images.digest() of the official pixels and labels, in any order: the atlases this was measured on are lossless.
OFFICIAL_DIGESTS: Mapping[tuple[str, Split], tuple[int, str]] = {
    ("cifar10", "train"): (50_000, "2135f7c5bab42ec1069d32353809326f"),
    ("cifar10", "test"): (10_000, "16a85613b227387a73f6332627ff54f6"),
}


# Class names as the official files have them, for pricing a design where the data is not there yet.
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm"""
PUBLISHED: Mapping[str, tuple[str, ...]] = {
    "cifar10": tuple(_CIFAR10.split()),
    "cifar100": tuple(_CIFAR100.split()),
}


@dataclass(frozen=True)
class Layout:
    """One way the files of one of the two sets are arranged."""

    name: str
    folder: str  # as the official archive calls it
    files: Mapping[Split, tuple[str, ...]]
    meta: str
    num_classes: int
    names_key: str  # of the meta pickle; "" where the meta file is text, a name a line
    label_key: str = ""  # of the pickles
    label_bytes: int = 1  # of a binary record, before the pixels; the last one is the label


_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
LAYOUTS = (
    Layout(
        "cifar10", "cifar-10-batches-py", {"train": _BATCHES, "test": ("test_batch",)},
        "batches.meta", 10, "label_names", label_key="labels",
    ),
    Layout(
        "cifar10", "cifar-10-batches-bin", {"train": tuple(f"{t}.bin" for t in _BATCHES), "test": ("test_batch.bin",)},
        "batches.meta.txt", 10, "",
    ),
    Layout(
        "cifar100", "cifar-100-python", {"train": ("train",), "test": ("test",)}, "meta", 100, "fine_label_names",
        label_key="fine_labels",
    ),
    Layout(
        "cifar100", "cifar-100-binary", {"train": ("train.bin",), "test": ("test.bin",)},
        "fine_label_names.txt", 100, "", label_bytes=2,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Cifar:
    """A source: the files of `layout` in `root`. It has no val split of its own."""

    root: Path
    layout: Layout
    stays_in_files: bool = False  # of the binary version, whose records can be mapped as they are

    def describe(self) -> DataInfo:
        return DataInfo(self.layout.name, self._classes(), channels=3, image_size=32)

    def read(self, split: Split) -> Images | None:
        if split not in self.layout.files:
            return None
        count = self._images_a_batch()
        batches = [self._read_batch(self.root / file, count) for file in self.layout.files[split]]
        pixels = [batch[0].reshape(-1, 3, 32, 32) for batch in batches]
        whole = Mapped.of(pixels) if self.stays_in_files else torch.from_numpy(np.concatenate(pixels))
        labels = np.concatenate([batch[1] for batch in batches])
        names = tuple(name for batch in batches for name in batch[2])
        return Images(whole, torch.from_numpy(labels), names or None)

    def _read_batch(self, path: Path, count: int | None) -> tuple[Any, Any, list[str]]:
        read = _read_pickle if self.layout.names_key else _read_records
        pixels, labels, names = read(_found(path), self.layout)
        if not len(labels):
            raise _bad(path, "holds no images")
        if count is not None and len(labels) != count:
            raise _bad(path, f"holds {len(labels):,} images and {count:,} are announced")
        if wrong := labels[(labels < 0) | (labels >= self.layout.num_classes)].tolist():
            raise _bad(path, f"labels must be 0 to {self.layout.num_classes - 1}; found {wrong[0]}")
        return pixels, labels, names

    def _images_a_batch(self) -> int | None:
        """As announced by the meta pickle of CIFAR-10; the other layouts do not say."""
        if self.layout.meta != "batches.meta":
            return None
        count = unpickle.read(_found(self.root / self.layout.meta)).get("num_cases_per_batch")
        return count if isinstance(count, int) else None

    def _classes(self) -> tuple[str, ...]:
        path = _found(self.root / self.layout.meta)
        names = _names(path, self.layout.names_key)
        if len(set(names)) != self.layout.num_classes or len(names) != self.layout.num_classes:
            raise _bad(path, f"must name {self.layout.num_classes} different classes; it names {len(set(names))}")
        return tuple(names)


def layout_of(folder: Path) -> Layout | None:
    """The layout whose meta file lies in `folder`; with a train folder in it, it is a folder of images instead."""
    if (folder / "train").is_dir():
        return None
    return next((layout for layout in LAYOUTS if (folder / layout.meta).is_file()), None)


def _read_pickle(path: Path, layout: Layout) -> tuple[Any, Any, list[str]]:
    batch = unpickle.read(path)
    if missing := [key for key in ("data", layout.label_key) if key not in batch]:
        raise _bad(path, f"has no {' and no '.join(repr(key) for key in missing)}")
    pixels, names = batch["data"], _texts(path, batch.get("filenames", []))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (IMAGE_BYTES,):
        raise _bad(path, f"data must be uint8 of shape (images, {IMAGE_BYTES}); it is {_kind(pixels)}")
    labels = _integers(path, batch[layout.label_key])
    if len(labels) != len(pixels) or len(names) not in (0, len(pixels)):
        raise _bad(path, f"holds {len(pixels):,} images, {len(labels):,} labels and {len(names):,} file names")
    return pixels, labels, names


def _read_records(path: Path, layout: Layout) -> tuple[Any, Any, list[str]]:
    record = layout.label_bytes + IMAGE_BYTES
    try:
        flat = np.memmap(path, np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})") from error
    if flat.size % record:
        raise _bad(path, f"is {flat.size:,} B, and whole images of {record:,} B are expected")
    records = flat.reshape(-1, record)
    return records[:, layout.label_bytes :], records[:, layout.label_bytes - 1].astype(np.int64), []


def _names(path: Path, key: str) -> list[str]:
    if key:
        return _texts(path, unpickle.read(path).get(key))
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, "is no text") from error


def _texts(path: Path, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, bytes | str) for item in value):
        raise _bad(path, "names must be a list of texts")
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value]


def _integers(path: Path, value: Any) -> Any:
    flat = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(flat, list) or not all(isinstance(item, int) and abs(item) < 2**31 for item in flat):
        raise _bad(path, "labels must be a list of whole numbers")
    return np.array(flat, np.int64)


def _kind(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _found(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: is missing: unpack the official archive again, or point SNUG_DATA at a complete copy")
    return path


def _bad(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}: unpack the official archive again")
