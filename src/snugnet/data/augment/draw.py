"""What operations draw from, and the base of every operation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from pydantic import AfterValidator, Field
from torch import Generator, Tensor

from snugnet.config import Frozen

Probability = Annotated[float, Field(ge=0, le=1)]


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"must be [smallest, largest]; got [{pair[0]:g}, {pair[1]:g}]")
    return pair


RISING = AfterValidator(_rising)


@dataclass(frozen=True)
class Draw:
    """All that an operation may know of a batch besides its pixels.

    Draws are made on the CPU and carried over: a few numbers an image, the same on every device. So images can be
    grouped by what happens to them without waiting for the device.
    """

    generator: Generator  # on the CPU
    indices: Tensor  # int64 (N,): where each image lies in the training split
    epoch: int = 0  # from 0
    seed: int = 0  # of the run, for what stays fixed over its epochs
    allowed: Tensor | None = None  # bool (N,): the images that may be changed; None: all

    @classmethod
    def of(cls, source: Draw | Generator, images: Tensor) -> Draw:
        """A bare generator stands for the first epoch, and for images in their order."""
        return source if isinstance(source, Draw) else cls(source, torch.arange(len(images)))

    def __len__(self) -> int:
        return len(self.indices)

    def rows(self, rows: Tensor) -> Draw:
        """The same for some images of the batch, all of which may be changed."""
        return replace(self, indices=self.indices[rows], allowed=None)

    def uniform(self, low: float = 0.0, high: float = 1.0, *shape: int) -> Tensor:
        """float32 (N, *shape) in [low, high)."""
        return low + (high - low) * torch.rand((len(self), *shape), generator=self.generator)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int64 (N, *shape) in [low, high)."""
        return torch.randint(low, high, (len(self), *shape), generator=self.generator)

    def signs(self) -> Tensor:
        """float32 (N,): -1 or 1, with equal chance."""
        return 2.0 * self.integers(0, 2) - 1

    def chance(self, p: float) -> Tensor | None:
        """bool (N,): true with probability `p`, among the images that may be changed. None: all. 1 takes no draw."""
        return self.allowed if p >= 1 else self.among_allowed(self.uniform() < p)

    def among_allowed(self, chosen: Tensor) -> Tensor:
        return chosen if self.allowed is None else chosen & self.allowed

    def of_image(self, salt: int) -> Tensor:
        """float64 (N,) in [0, 1): one number for each image of the training split, the same in every epoch of a run.

        A hash (the finaliser of splitmix64, Steele et al. 2014) of image, seed and `salt`.
        """
        value = self.indices * -0x61C8864680B583EB + (self.seed * 0x1000003 + salt) % 2**62
        for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
            value = (value ^ _shifted(value, shift)) * factor
        mixed: Tensor = value ^ _shifted(value, 31)
        return _shifted(mixed, 11).double().mul_(2.0**-53)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """int64, moved right as if it were unsigned."""
    moved: Tensor = value >> bits
    return moved & ((1 << (64 - bits)) - 1)


Change = Callable[[Tensor, Draw], Tensor]


def on_chosen(images: Tensor, draw: Draw, chosen: Tensor | None, change: Change) -> Tensor:
    """`change` of the images where `chosen` (bool (N,), on the CPU; None: all); the others as they are."""
    if chosen is None or bool(chosen.all()):
        return change(images, draw)
    rows = chosen.nonzero().flatten()
    if not len(rows):
        return images
    place = rows.to(images.device, non_blocking=True)
    return images.index_copy(0, place, change(images[place], draw.rows(rows)))


class Operation(Frozen):
    """A change of images (N, C, H, W), drawn for each of them, with probability `p`. uint8 stays uint8."""

    takes_floats: ClassVar[bool] = True  # whether it may stand after `normalize`
    p: Probability = 1.0

    def apply(self, images: Tensor, draw: Draw | Generator) -> Tensor:
        draw = Draw.of(draw, images)
        return on_chosen(images, draw, draw.chance(self.p), self._changed)

    @abstractmethod
    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        """All of `images`, changed by draws of their own."""


def double(images: Tensor) -> torch.dtype:
    """float64, as Pillow computes; float32 on Apple's cards, which have nothing wider."""
    return torch.float32 if images.device.type == "mps" else torch.float64


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """(N,) on the CPU to (N, 1, 1, 1) beside the images, float32 or as whole as it is."""
    values = values.float() if values.is_floating_point() else values
    return values.view(-1, 1, 1, 1).to(images.device, non_blocking=True)
