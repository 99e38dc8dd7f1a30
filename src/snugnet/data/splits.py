"""What is trained on, what chooses, and the one place where the test split is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snugnet.data.config import DataConfig, Normalization
from snugnet.data.copies import NO_COPIES, Copies, extra_copies
from snugnet.data.download import Report, silent
from snugnet.data.images import DataInfo, Images, content_hashes, digest, held_out, join
from snugnet.data.mapped import Pixels, parts
from snugnet.data.sources import open_source
from snugnet.errors import DataError, RecipeError


@dataclass(frozen=True)
class Splits:
    """`val` is empty where `train_on` is "all" or `val_fraction` is 0. `normalization` is of the training images.

    `copies` are images of `train` that an epoch shows once more.
    """

    info: DataInfo
    train: Images
    val: Images
    normalization: Normalization
    copies: Copies = NO_COPIES

    @property
    def digest(self) -> str:
        """Of all images and labels of both, whatever their order."""
        return f"{digest(self.train)}-{digest(self.val)}"

    @property
    def shown_labels(self) -> Tensor:
        """Labels int64 of all that an epoch shows."""
        return torch.cat([self.train.labels, self.train.labels[self.copies.sources]])


def open_splits(config: DataConfig, report: Report = silent) -> Splits:
    """Training and validation images; nothing of the test split is read.

    Val is the data set's own val split, else in each class the `val_fraction` of images with the lowest content hash,
    so that it stays the same whatever the files are called and however they are ordered. Both splits are sorted by
    content hash, then label: the same pixels give bitwise the same training from any layout of the same data set.
    Images with equal pixels are on the same side of a split that is made here.
    Raises DataError, RecipeError, StorageError.
    """
    source = open_source(config, report)
    info = source.describe()
    everything, own_val = source.read("train"), source.read("val")
    assert everything is not None  # a source without a train split raises
    train, val = _divided(config, info, everything, own_val)
    return Splits(info, train, val, _normalization(config, info, train), extra_copies(config.extra_copies, info, train))


def open_test(config: DataConfig, report: Report = silent) -> Images:
    """The test images, sorted as the others are: the only place where they are opened. Empty where there are none."""
    source = open_source(config, report)
    test = source.read("test")
    return _nothing(source.describe()) if test is None else _sorted(test)


TRAINS_ON_VAL = "the val split is empty because the recipe trains on it (`--set data.train_on=train`)"


def _divided(config: DataConfig, info: DataInfo, train: Images, own_val: Images | None) -> tuple[Images, Images]:
    if config.train_on == "all":
        images = _sorted(train if own_val is None else join(train, own_val))
        _require_classes(info, images, "no image of it to train on: add some")
        return images, _nothing(info)
    if own_val is None:
        return _split_by_content(config, info, train)
    _require_classes(info, own_val, "its val split has none of it: add some, or remove the val split to have one made")
    return _sorted(train), _sorted(own_val)


def _split_by_content(config: DataConfig, info: DataInfo, everything: Images) -> tuple[Images, Images]:
    order, hashes = _order(everything)
    in_val = held_out(everything.labels[order], hashes, config.val_fraction)
    train, val = (everything.select(order[mask]) for mask in (~in_val, in_val))
    if config.val_fraction > 0:
        few = f"too few images for data.val_fraction = {config.val_fraction:g}: add images, or raise it"
        _require_classes(info, val, few)
    _require_classes(info, train, "no image of it is left to train on: add images, or lower data.val_fraction")
    return train, val


def _sorted(images: Images) -> Images:
    return images.select(_order(images)[0])


def _order(images: Images) -> tuple[Tensor, list[bytes]]:
    """int64 (N,): by content hash, then label, then name; and the hashes in that order."""
    hashes, labels = content_hashes(images), images.labels.tolist()
    names: Sequence[str] = images.names or [""] * len(images)
    order = sorted(range(len(images)), key=lambda i: (hashes[i], labels[i], names[i]))
    return torch.tensor(order, dtype=torch.int64), [hashes[i] for i in order]


def _nothing(info: DataInfo) -> Images:
    pixels = torch.empty(0, info.channels, info.image_size, info.image_size, dtype=torch.uint8)
    return Images(pixels, torch.empty(0, dtype=torch.int64), None)


def _require_classes(info: DataInfo, images: Images, message: str) -> None:
    counts = torch.bincount(images.labels, minlength=len(info.classes)).tolist()
    if missing := [name for name, count in zip(info.classes, counts, strict=True) if not count]:
        raise DataError(f"{info.name}: class {', '.join(map(repr, missing))}: {message}")


def _normalization(config: DataConfig, info: DataInfo, train: Images) -> Normalization:
    given = config.normalize
    if given == "train":
        return _measured(info, train)
    for field, values in (("mean", given.mean), ("std", given.std)):
        if len(values) != info.channels:
            raise RecipeError(
                f"data.normalize.{field}: must have a number a channel; "
                f"{info.name} has {info.channels}, got {len(values)}"
            )
    return given


def _counts(pixels: Pixels) -> Tensor:
    """int64 (C, 256): how often each channel has each value."""
    counts = torch.zeros(pixels.shape[1], 256, dtype=torch.int64)
    for part in parts(pixels):
        for own, channel in zip(counts, part.unbind(1), strict=True):
            own += torch.bincount(channel.flatten(), minlength=256)
    return counts


def _measured(info: DataInfo, train: Images) -> Normalization:
    """Mean and population standard deviation of pixel / 255, from counts of the 256 values: exact in any order."""
    means, stds = [], []
    values = torch.arange(256, dtype=torch.float64) / 255
    for counts in _counts(train.pixels).double():
        mean = (counts * values).sum() / counts.sum()
        std = ((counts * (values - mean) ** 2).sum() / counts.sum()).sqrt()
        means.append(round(mean.item(), 6))
        stds.append(round(std.item(), 6))
    if 0 in stds:
        raise DataError(
            f"{info.name}: channel {stds.index(0)} has one value in all training images and cannot be normalised: "
            f"check the images, or set data.normalize"
        )
    return Normalization(mean=tuple(means), std=tuple(stds))
