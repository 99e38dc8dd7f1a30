"""Operations that move pixels: flip, crop, rotation, affine map, perspective."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from snugnet.config import Frozen
from snugnet.data.augment import resample
from snugnet.data.augment.draw import RISING, Draw, Operation, Probability, on_chosen, per_image
from snugnet.data.augment.resample import Interpolation

Degrees = Annotated[float, Field(ge=0, le=180)]
Share = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(ge=0.1, le=10)]
Shear = Annotated[float, Field(ge=0, le=60)]


class Flip(Frozen):
    """Mirror with probability `p` (avvari24, durga25, patil25, aswani22: horizontal, 0.5).

    `alternate` draws in the first epoch alone; then an image is mirrored in every other epoch, so that two epochs in a
    row show both of its sides (Jordan 2024, arXiv 2404.00498, section 3.6).
    """

    takes_floats: ClassVar[bool] = True
    op: Literal["flip"]
    p: Probability = 0.5
    axis: Literal["horizontal", "vertical"] = "horizontal"
    alternate: bool = False

    def apply(self, images: Tensor, draw: Draw | Generator) -> Tensor:
        draw = Draw.of(draw, images)
        chosen = self._alternated(draw) if self.alternate else draw.chance(self.p)
        return on_chosen(images, draw, chosen, lambda part, _: part.flip(-1 if self.axis == "horizontal" else -2))

    def _alternated(self, draw: Draw) -> Tensor:
        first = draw.of_image(salt=1 if self.axis == "horizontal" else 2) < self.p
        return draw.among_allowed(first ^ bool(draw.epoch % 2))


class Crop(Operation):
    """Shift by up to `padding` pixels each way: pad, then cut a window of the old size."""

    op: Literal["crop"]
    padding: Annotated[int, Field(ge=1, le=128)] = 4
    fill: Literal["zero", "reflect"] = "zero"

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        count, channels, height, width = images.shape
        padded = self._pad(images)
        top = per_image(draw.integers(0, 2 * self.padding + 1), images)
        left = per_image(draw.integers(0, 2 * self.padding + 1), images)
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


class Rotate(Operation):
    """By an angle in [-degrees, degrees] about the centre (aswani22: 5; tu24: 10); bitwise torchvision's."""

    op: Literal["rotate"]
    degrees: Degrees
    interpolation: Interpolation = "nearest"

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        angle = draw.uniform(-self.degrees, self.degrees)
        return resample.resample(images, resample.rotation(angle, images), self.interpolation)


class Affine(Operation):
    """torchvision's RandomAffine: a rotation, then shear along x and y, a scale and a shift by whole pixels.

    `degrees` and `shear` are the largest angles each way, `translate` the largest share of width and of height.
    """

    op: Literal["affine"]
    degrees: Degrees = 0.0
    translate: tuple[Share, Share] = (0.0, 0.0)
    scale: Annotated[tuple[Scale, Scale], RISING] = (1.0, 1.0)
    shear: tuple[Shear, Shear] = (0.0, 0.0)
    interpolation: Interpolation = "nearest"

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        across, down = self.translate[0] * images.shape[3], self.translate[1] * images.shape[2]
        maps = resample.affine(
            images,
            degrees=draw.uniform(-self.degrees, self.degrees),
            x=draw.uniform(-across, across).round(),
            y=draw.uniform(-down, down).round(),
            scale=draw.uniform(*self.scale),
            shear_x=draw.uniform(-self.shear[0], self.shear[0]),
            shear_y=draw.uniform(-self.shear[1], self.shear[1]),
        )
        return resample.resample(images, maps, self.interpolation)


class Perspective(Operation):
    """Each corner moves inwards by up to `distortion` of half the side: torchvision's RandomPerspective.

    Bilinear as there, at most 1 level from it (avvari24: 0.6, p 0.5).
    """

    op: Literal["perspective"]
    distortion: Share = 0.5
    p: Probability = 0.5
    interpolation: Interpolation = "bilinear"

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        corners = self._corners(images.shape[3], images.shape[2], draw)
        return resample.resample(images, resample.perspective(images, corners), self.interpolation)

    def _corners(self, width: int, height: int, draw: Draw) -> Tensor:
        """(N, 4, 2). As torchvision draws: on a right or lower edge one value more than on a left or upper one."""
        across, down = int(self.distortion * (width // 2)), int(self.distortion * (height // 2))
        left = [draw.integers(0, across + 1) for _ in range(2)]
        right = [draw.integers(width - across - 1, width) for _ in range(2)]
        top = [draw.integers(0, down + 1) for _ in range(2)]
        bottom = [draw.integers(height - down - 1, height) for _ in range(2)]
        x = torch.stack([left[0], right[0], right[1], left[1]], 1)
        y = torch.stack([top[0], top[1], bottom[0], bottom[1]], 1)
        return torch.stack([x, y], 2)
