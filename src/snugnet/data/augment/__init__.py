"""Augmentation as batched tensor code: independent draws for every image, from a seeded generator.

Each operation is a frozen configuration with an `apply`. It takes and gives images (N, C, H, W); order is the recipe's.
They are uint8 up to `normalize`, which stands behind the last operation where a recipe does not place it, and float32
from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Discriminator, Field, Tag

from snugnet.config import Frozen
from snugnet.data.augment.blur import Blur
from snugnet.data.augment.draw import Draw, Operation
from snugnet.data.augment.erase import Cutout, Erase
from snugnet.data.augment.foreign import Apply, Foreign
from snugnet.data.augment.geometric import Affine, Crop, Flip, Perspective, Rotate, reflect_pad
from snugnet.data.augment.jitter import ColorJitter
from snugnet.data.augment.policies import AugMix, AutoAugment, RandAugment, TrivialAugment
from snugnet.foreign import is_path
from snugnet.problems import OURS

__all__ = [
    "Affine",
    "AugMix",
    "Augment",
    "AutoAugment",
    "Blur",
    "ColorJitter",
    "Crop",
    "Cutout",
    "Draw",
    "Erase",
    "Flip",
    "Foreign",
    "Normalize",
    "Operation",
    "Perspective",
    "RandAugment",
    "Rotate",
    "TrivialAugment",
    "reflect_pad",
    "to_apply",
]


class Normalize(Frozen):
    """Where uint8 images become float32, (pixel / 255 - mean) / std by the constants of the data.

    Only the loader does it; it stands in the list for its place.
    """

    op: Literal["normalize"]


Change = (
    Flip
    | Crop
    | Rotate
    | Affine
    | Perspective
    | ColorJitter
    | Blur
    | Cutout
    | Erase
    | AutoAugment
    | RandAugment
    | TrivialAugment
    | AugMix
)


def _whose(value: Any) -> str:
    """The pydantic tag of an operation, as data or as made."""
    op = value.get("op") if isinstance(value, Mapping) else getattr(value, "op", None)
    return Foreign.__name__ if isinstance(op, str) and is_path(op) else OURS


Augment = Annotated[
    Annotated[Change | Normalize, Field(discriminator="op"), Tag(OURS)] | Annotated[Foreign, Tag(Foreign.__name__)],
    Discriminator(_whose),
]
Changes = tuple[Change | Foreign, ...]


def split_at_normalize(operations: Sequence[Augment]) -> tuple[Changes, Changes]:
    """Operations on uint8 images, and those on normalised ones. Raises ValueError in the words of a recipe."""
    places = [place for place, operation in enumerate(operations) if isinstance(operation, Normalize)]
    if len(places) > 1:
        raise ValueError(f"normalize may stand once; got it {len(places)} times")
    cut = places[0] if places else len(operations)
    changes = [
        [each for each in part if not isinstance(each, Normalize)] for part in (operations[:cut], operations[cut:])
    ]
    if late := [change.op for change in changes[1] if not change.takes_floats]:
        raise ValueError(f"{late[0]} needs pixels of 0 to 255; put it before normalize")
    for change in changes[0]:
        if isinstance(change, Erase) and change.value not in range(256):
            raise ValueError(f"erase before normalize needs a whole value of 0 to 255; got {change.value:g}")
    return tuple(changes[0]), tuple(changes[1])


def to_apply(operations: Sequence[Augment]) -> tuple[list[Apply], list[Apply]]:
    """What is applied to batches of uint8 images, and of normalised ones. Raises RecipeError."""
    before, behind = (
        [change.made() if isinstance(change, Foreign) else change.apply for change in part]
        for part in split_at_normalize(operations)
    )
    return before, behind


def try_out(operations: Sequence[Augment], channels: int, size: int) -> None:
    """Runs the user's own once on made-up images, so that what is wrong with them shows before data is read.

    Raises RecipeError.
    """
    pixels = torch.arange(2 * channels * size * size).view(2, channels, size, size).to(torch.uint8)
    for part, images in zip(split_at_normalize(operations), (pixels, pixels / 255), strict=True):
        for change in part:
            if isinstance(change, Foreign):
                change.try_out(images.clone())


def _in_order(operations: tuple[Augment, ...]) -> tuple[Augment, ...]:
    split_at_normalize(operations)
    return operations


Augmentation = Annotated[tuple[Augment, ...], AfterValidator(_in_order)]
