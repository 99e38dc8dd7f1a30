"""Data sets of image files: what a folder or a CSV lists, and the source that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from snugnet.data import store
from snugnet.data.config import Memory
from snugnet.data.decode import cache_path, decoded, header_size, read_pixels
from snugnet.data.images import DataInfo, Images, Split, content_hashes, held_out
from snugnet.data.problems import Problem, raise_errors
from snugnet.data.store import Contents
from snugnet.device import available_bytes
from snugnet.errors import DataError

Files = Mapping[Split, Mapping[str, Sequence[Path]]]  # by split and class; a class may be there and empty
TEST_FRACTION = 0.2  # of each class, where a data set has no test split at all


@dataclass(frozen=True)
class Listing:
    """`root` is the folder or the CSV. `holds_out_test`: all files are in "train", and some are for testing."""

    root: Path
    files: Files
    problems: tuple[Problem, ...]
    holds_out_test: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({name for split in self.files.values() for name in split}))

    def shown(self, path: Path) -> str:
        """The file's name as the data set would say it: relative to the folder, or to the CSV's folder."""
        folder = self.root if self.root.is_dir() else self.root.parent
        return path.as_posix().removeprefix(f"{folder.as_posix()}/")

    def of(self, split: Split) -> Iterator[tuple[str, Path]]:
        """(class, file), in an order that does not depend on the file system."""
        for name, paths in sorted(self.files.get(split, {}).items()):
            yield from ((name, path) for path in sorted(paths))


def class_problems(root: Path, files: Files) -> Iterator[Problem]:
    """The laws on classes: each has images to train on, and there are at least two."""
    if "train" not in files:
        return
    train = files["train"]
    for name in sorted(name for name, paths in train.items() if not paths):
        remedy = "add images, or remove the class everywhere"
        yield Problem("error", str(root), f"class {name!r} has no image in train", remedy)
    for split, names in files.items():
        for name in sorted(name for name, paths in names.items() if name not in train):
            remedy = f"add images of it to train, or remove it from {split}"
            yield Problem("error", str(root), f"class {name!r} is in {split} and not in train", remedy)
    if len(train) == 1:
        message = f"has the one class {next(iter(train))!r}, and at least two are needed"
        yield Problem("error", str(root), message, "add a class")


@dataclass(frozen=True)
class ImageFiles:
    """A source: the images of `listing`, RGB, at `image_size` or at the one size they all have."""

    listing: Listing
    image_size: int | None
    memory: Memory = "auto"

    def describe(self) -> DataInfo:
        raise_errors(self.listing.problems)
        return DataInfo(str(self.listing.root), self.listing.classes, channels=3, image_size=self._side())

    def read(self, split: Split) -> Images | None:
        raise_errors(self.listing.problems)
        if not self.listing.holds_out_test:
            return self._read(split) if split in self.listing.files else None
        return None if split == "val" else train_or_test(self._read("train"), split)

    def decided(self) -> Literal["ram", "map"]:
        """Where pixels go. "auto" is memory while all splits take at most half of what is free."""
        if self.memory != "auto":
            return self.memory
        images = sum(len(paths) for classes in self.listing.files.values() for paths in classes.values())
        return "map" if 2 * images * 3 * self._side() ** 2 > available_bytes(torch.device("cpu")) else "ram"

    def _read(self, split: Split) -> Images:
        listed = list(self.listing.of(split))
        numbers = {name: number for number, name in enumerate(self.listing.classes)}
        labels, paths = [numbers[name] for name, _ in listed], [path for _, path in listed]
        names = tuple(map(self.listing.shown, paths))
        if paths and self.decided() == "map":
            return self._stored(split, paths, Contents((3, *2 * [self._side()]), labels, names, self.listing.classes))
        pixels = read_pixels(self.listing.root, split, paths, self._side(), exact=self.image_size is None)
        return Images(pixels, torch.tensor(labels, dtype=torch.int64), names)

    def _stored(self, split: Split, paths: Sequence[Path], contents: Contents) -> Images:
        """The images in the order of their content, mapped from a store, which is written first where there is none."""
        exact, side = self.image_size is None, self._side()
        how = f"store {store.VERSION} {exact} {contents.classes}"
        folder = cache_path(self.listing.root, f"{split}-map-{side}", paths, how)
        return store.opened(folder) or store.made(
            folder, contents, lambda: decoded(self.listing.root, paths, side, exact)
        )

    def _side(self) -> int:
        if self.image_size is not None:
            return self.image_size
        _, first = next(self.listing.of("train"))
        width, height = header_size(first)
        if width != height:
            raise DataError(
                f"{self.listing.root}: images are not square ({first.name} is {width}×{height}): "
                f"set data.image_size to the side they shall be resized to"
            )
        return width


def train_or_test(images: Images, split: Split) -> Images:
    """The train or the test part of images that come without a test split."""
    is_test = held_out(images.labels, content_hashes(images), TEST_FRACTION)
    return images.select((is_test if split == "test" else ~is_test).nonzero().flatten())
