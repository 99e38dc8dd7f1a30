"""Augmentation as batched tensor code: independent draws for every image, from a seeded generator.

Each operation is a frozen configuration with an `apply`. It takes and gives images (N, C, H, W); order is the recipe's.
They are uint8 up to `normalize`, which stands behind the last operation where a recipe does not place it, and float32
from there on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from snugnet.config import Frozen
from snugnet.data.augment.blur import Blur
from snugnet.data.augment.draw import Draw, Operation
from snugnet.data.augment.erase import Cutout, Erase
from snugnet.data.augment.geometric import Affine, Crop, Flip, Perspective, Rotate, reflect_pad
from snugnet.data.augment.jitter import ColorJitter
from snugnet.data.augment.policies import AugMix, AutoAugment, RandAugment, TrivialAugment

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
    "Normalize",
    "Operation",
    "Perspective",
    "RandAugment",
    "Rotate",
    "TrivialAugment",
    "reflect_pad",
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
Augment = Annotated[Change | Normalize, Field(discriminator="op")]


def split_at_normalize(operations: Sequence[Change | Normalize]) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
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


def _in_order(operations: tuple[Augment, ...]) -> tuple[Augment, ...]:
    split_at_normalize(operations)
    return operations


Augmentation = Annotated[tuple[Augment, ...], AfterValidator(_in_order)]
