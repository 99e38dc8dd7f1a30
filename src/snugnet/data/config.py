"""What a recipe's [data] table says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from snugnet.config import Frozen

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Normalization(Frozen):
    """(pixel / 255 - mean) / std, one number a channel."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


class DataConfig(Frozen):
    """A data set and its use.

    `name` is `cifar10`, `cifar100`, `digits` or a path: an official CIFAR folder, a folder of images, a CSV.
    """

    name: str = "cifar10"
    image_size: Annotated[int, Field(ge=4, le=1024)] | None = None  # side that images of a folder or CSV are resized to
    train_on: Literal["train", "all"] = "train"  # "all": train + val, once nothing is left to choose; val is then empty
    val_fraction: Fraction = 0.1  # of each class; taken only where the data has no val split of its own
    normalize: Literal["train"] | Normalization = "train"  # "train": constants of the training images
