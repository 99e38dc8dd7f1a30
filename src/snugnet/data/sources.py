"""Which data set a name means, and what every data set can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from snugnet.data.cifar import LAYOUTS, PUBLISHED, Cifar, layout_of
from snugnet.data.config import DataConfig, Memory
from snugnet.data.digits import Digits
from snugnet.data.download import Report, fetch, silent
from snugnet.data.folder import list_folder
from snugnet.data.images import DataInfo, Images, Split
from snugnet.data.listing import ImageFiles
from snugnet.data.places import data_folders
from snugnet.data.table import list_table
from snugnet.errors import DataError, RecipeError


class Source(Protocol):
    def describe(self) -> DataInfo:
        """Without reading the data: from listings, headers and the files of class names. Raises DataError."""

    def read(self, split: Split) -> Images | None:
        """All images of the split; None where the data set has no such split. Raises DataError, StorageError."""


NAMED: Mapping[str, Callable[[Report], Source]] = {
    "cifar10": lambda report: _cifar(locate("cifar10", report)),
    "cifar100": lambda report: _cifar(locate("cifar100", report)),
    "digits": lambda _: Digits(),
}


def locate(name: str, report: Report = silent) -> Path:
    """The folder of `cifar10` or `cifar100`, on disk or else downloaded."""
    return on_disk(name) or fetch(name, report)


def on_disk(name: str) -> Path | None:
    """Where `cifar10` or `cifar100` lies: in $SNUG_DATA, ./data or the cache; None where it does not.

    Each of these may be the folder itself or hold it, in the Python or the binary version.
    """
    own = [layout.folder for layout in LAYOUTS if layout.name == name]
    for place in (place for folder in data_folders() for place in (folder, *(folder / each for each in own))):
        layout = layout_of(place)
        if layout is not None and layout.name == name:
            return place
    return None


def resolve(name: str, image_size: int | None = None, report: Report = silent, memory: Memory = "auto") -> Source:
    """The source that `name` means: a known name, or a path. Raises DataError."""
    if name in NAMED:
        return NAMED[name](report)
    path = Path(name).expanduser()
    if path.is_dir():
        return ImageFiles(list_folder(path), image_size, memory) if layout_of(path) is None else _cifar(path)
    if path.is_file() and path.suffix.lower() == ".csv":
        return ImageFiles(list_table(path), image_size, memory)
    raise _unknown(name, path)


def open_source(config: DataConfig, report: Report = silent) -> Source:
    """As `resolve`, for a recipe. Raises RecipeError where its image size or memory are not what the data can have."""
    source = resolve(config.name, config.image_size, report, config.memory)
    if config.image_size is not None and (own := source.describe().image_size) != config.image_size:
        raise RecipeError(
            f"data.image_size: images of {config.name} are {own}×{own}, and only those of a folder or a CSV are "
            f"resized; got {config.image_size}: remove it"
        )
    return source if config.memory != "map" or isinstance(source, ImageFiles) else _in_files(config.name, source)


def _in_files(name: str, source: Source) -> Source:
    if isinstance(source, Cifar) and not source.layout.names_key:
        return replace(source, stays_in_files=True)
    raise RecipeError(
        "data.memory: 'map' is for a folder of images, a CSV or the binary version of CIFAR; "
        f"{name} is read into memory: remove the key"
    )


def decided(config: DataConfig) -> DataConfig:
    """The same with `memory` "ram" or "map" where it was "auto": the order of training images hangs on it."""
    if config.memory != "auto":
        return config
    source = None if config.name in NAMED else open_source(config)
    return config.model_copy(update={"memory": source.decided() if isinstance(source, ImageFiles) else "ram"})


def describe(config: DataConfig) -> DataInfo:
    """What a net must know of the data. A named set needs not be there: a design is priced before any download."""
    if config.name in PUBLISHED and on_disk(config.name) is None:
        return DataInfo(config.name, PUBLISHED[config.name], channels=3, image_size=32)
    return open_source(config).describe()


def read(config: DataConfig, split: Split) -> Images | None:
    return open_source(config).read(split)


def _cifar(folder: Path) -> Source:
    layout = layout_of(folder)
    assert layout is not None  # found by it, or unpacked from the archive whose MD5 is known
    return Cifar(folder, layout)


def _unknown(name: str, path: Path) -> DataError:
    if path.is_file():
        return DataError(f"{name}: is a file, and only a CSV of path,label is a data set: give a .csv or a folder")
    near = get_close_matches(name, NAMED, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"give a path, or one of {', '.join(NAMED)}"
    return DataError(f"{name}: is neither a known data set nor a path: {remedy}")
