"""Operations that take pixels away: cutout, random erasing."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from snugnet.data.augment.draw import RISING, Draw, Operation, Probability

Area = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0, le=100)]
ATTEMPTS = 10  # as torchvision


def rectangle(images: Tensor, top: Tensor, left: Tensor, height: Tensor | int, width: Tensor | int) -> Tensor:
    """bool (N, 1, H, W): where the rectangle of each image is, clipped at the borders."""

    def band(size: int, first: Tensor, length: Tensor | int) -> Tensor:
        place = torch.arange(size)
        first = first.view(-1, 1)
        return ((place >= first) & (place < first + torch.as_tensor(length).view(-1, 1))).to(
            images.device, non_blocking=True
        )

    rows, columns = band(images.shape[2], top, height), band(images.shape[3], left, width)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


class Cutout(Operation):
    """Zeroes `holes` squares of side `size`, centred anywhere, clipped at the borders (durga25: one of 16).

    DeVries and Taylor 2017, arXiv 1708.04552.
    """

    op: Literal["cutout"]
    size: Annotated[int, Field(ge=1, le=1024)] = 16
    holes: Annotated[int, Field(ge=1, le=64)] = 1

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        for _ in range(self.holes):
            top = draw.integers(0, images.shape[2]) - self.size // 2
            left = draw.integers(0, images.shape[3]) - self.size // 2
            images = images.masked_fill(rectangle(images, top, left, self.size, self.size), 0)
        return images


class Erase(Operation):
    """One rectangle of a drawn area and shape, all of it inside (Zhong et al. 2017, arXiv 1708.04896).

    Drawn as torchvision's RandomErasing draws: area uniform in `scale`, height over width log-uniform in `ratio`, the
    first of ten that is smaller than the image each way. `value` is of the images it meets: behind `normalize` 0 is
    the mean colour (patil25: p 0.5, scale 0.02 to 0.2, behind it). `noise` draws each value instead: normal behind
    `normalize`, else of 0 to 255.
    """

    op: Literal["erase"]
    p: Probability = 0.5
    scale: Annotated[tuple[Area, Area], RISING] = (0.02, 0.33)
    ratio: Annotated[tuple[Ratio, Ratio], RISING] = (0.3, 3.3)
    value: float = 0.0
    noise: bool = False

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        height, width = self._size(images.shape[2], images.shape[3], draw)
        top = (draw.uniform() * (images.shape[2] - height + 1)).long()
        left = (draw.uniform() * (images.shape[3] - width + 1)).long()
        mask = rectangle(images, top, left, height, width)
        if self.noise:
            return torch.where(mask, self._noise(images, draw), images)
        return images.masked_fill(mask, self.value)

    def _size(self, height: int, width: int, draw: Draw) -> tuple[Tensor, Tensor]:
        """Rows and columns, int64 (N,); 0 where none of the attempts was small enough."""
        area = height * width * draw.uniform(*self.scale, ATTEMPTS)
        ratio = draw.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), ATTEMPTS).exp()
        rows, columns = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
        fits = (rows < height) & (columns < width)
        first = fits.int().argmax(1, keepdim=True)
        return tuple((size * fits).gather(1, first).squeeze(1) for size in (rows, columns))  # type: ignore[return-value]

    def _noise(self, images: Tensor, draw: Draw) -> Tensor:
        if images.is_floating_point():
            noise = torch.randn(images.shape, generator=draw.generator)
        else:
            noise = torch.randint(0, 256, images.shape, generator=draw.generator, dtype=torch.uint8)
        return noise.to(images.device, images.dtype, non_blocking=True)
