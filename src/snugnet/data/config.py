"""What a recipe's [data] table says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from snugnet.config import Frozen

Memory = Literal["auto", "ram", "map"]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Normalization(Frozen):
    """(pixel / 255 - mean) / std, one number a channel."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


class ExtraCopies(Frozen):
    """Training images of some classes shown once more in each epoch (tu24: of four classes, only the copies augmented).

    `each`: copies of each class, going round its images by content; all of its images once where it is left out.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    each: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    augment: Literal["all", "copies"] = "all"  # "copies": the others are shown as they are


class DataConfig(Frozen):
    """A data set and its use.

    `name` is `cifar10`, `cifar100`, `digits` or a path: an official CIFAR folder, a folder of images, a CSV.
    """

    name: str = "cifar10"
    memory: Memory = "auto"  # "map": pixels stay in files; auto: where they would fill memory
    image_size: Annotated[int, Field(ge=4, le=1024)] | None = None  # side that images of a folder or CSV are resized to
    train_on: Literal["train", "all"] = "train"  # "all": train + val, once nothing is left to choose; val is then empty
    val_fraction: Fraction = 0.1  # of each class; taken only where the data has no val split of its own
    normalize: Literal["train"] | Normalization = "train"  # "train": constants of the training images, without copies
    extra_copies: ExtraCopies | None = None
