"""Augmentation as batched tensor code: independent draws for every image, from a seeded generator, on the device.

Each operation is a frozen configuration with an `apply`. It takes and gives uint8 images (N, C, H, W); the loader
normalises after the last one. Order is the recipe's.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from snugnet.config import Frozen

Probability = Annotated[float, Field(ge=0, le=1)]


def draw(images: Tensor, low: int, high: int, generator: Generator) -> Tensor:
    """One integer in [low, high) for each image: (N, 1, 1, 1)."""
    return torch.randint(low, high, (len(images), 1, 1, 1), generator=generator, device=images.device)


class Flip(Frozen):
    """Mirror with probability `p` (avvari24, durga25, patil25, aswani22: horizontal, 0.5)."""

    op: Literal["flip"]
    p: Probability = 0.5
    axis: Literal["horizontal", "vertical"] = "horizontal"

    def apply(self, images: Tensor, generator: Generator) -> Tensor:
        chosen = torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device) < self.p
        return torch.where(chosen, images.flip(-1 if self.axis == "horizontal" else -2), images)


class Crop(Frozen):
    """Shift by up to `padding` pixels each way: pad, then cut a window of the old size."""

    op: Literal["crop"]
    padding: Annotated[int, Field(ge=1, le=128)] = 4
    fill: Literal["zero", "reflect"] = "zero"

    def apply(self, images: Tensor, generator: Generator) -> Tensor:
        count, channels, height, width = images.shape
        padded = self._pad(images)
        top = draw(images, 0, 2 * self.padding + 1, generator)
        left = draw(images, 0, 2 * self.padding + 1, generator)
        rows = torch.arange(height, device=images.device).view(1, 1, -1, 1) + top
        columns = torch.arange(width, device=images.device).view(1, 1, 1, -1) + left
        index = (rows * padded.shape[-1] + columns).view(count, 1, -1).expand(-1, channels, -1)
        return padded.flatten(2).gather(2, index).view(images.shape)

    def _pad(self, images: Tensor) -> Tensor:
        if self.fill == "zero":
            return F.pad(images, (self.padding,) * 4)
        return reflect_pad(images, self.padding)


def reflect_pad(images: Tensor, padding: int) -> Tensor:
    """Mirrors the border without repeating it. F.pad does not reflect uint8 images."""

    def mirrored(size: int) -> Tensor:
        period = max(1, 2 * (size - 1))  # a padding beyond the image mirrors again
        place = torch.arange(-padding, size + padding, device=images.device) % period
        return torch.minimum(place, period - place)

    return images[:, :, mirrored(images.shape[2])][:, :, :, mirrored(images.shape[3])]


class Cutout(Frozen):
    """Zeroes `holes` squares of side `size`, centred anywhere, clipped at the borders (durga25: one of 16)."""

    op: Literal["cutout"]
    size: Annotated[int, Field(ge=1, le=1024)] = 16
    holes: Annotated[int, Field(ge=1, le=64)] = 1

    def apply(self, images: Tensor, generator: Generator) -> Tensor:
        for _ in range(self.holes):
            images = images.masked_fill(self._square(images, generator), 0)
        return images

    def _square(self, images: Tensor, generator: Generator) -> Tensor:
        def band(length: int) -> Tensor:
            first = draw(images, 0, length, generator).view(-1, 1) - self.size // 2
            place = torch.arange(length, device=images.device)
            return (place >= first) & (place < first + self.size)

        rows, columns = band(images.shape[2]), band(images.shape[3])
        return (rows[:, :, None] & columns[:, None, :])[:, None]


Augment = Annotated[Flip | Crop | Cutout, Field(discriminator="op")]
