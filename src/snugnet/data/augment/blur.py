"""Gaussian blur as Pillow has it."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from snugnet.data.augment.draw import RISING, Draw, Operation

PASSES = 3
Radius = Annotated[float, Field(gt=0, le=100)]


class Blur(Operation):
    """ImageFilter.GaussianBlur with a radius (its sigma, in pixels) drawn evenly from `radius` (patil25: p 0.3).

    At most 1 level from Pillow; behind `normalize` the same without rounding.
    """

    op: Literal["blur"]
    radius: Annotated[tuple[Radius, Radius], RISING] = (0.1, 1.5)

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        return gaussian_blur(images, draw.uniform(*self.radius))


def gaussian_blur(images: Tensor, radius: Tensor) -> Tensor:
    """Three box blurs along x, then three along y, each rounded, as Pillow's BoxBlur.c (Gwosdek et al. 2011).

    `radius` (N,) on the CPU. A box of each image is a matrix over its rows or columns, the borders repeated.
    """
    box = box_radius(radius.double())
    across, down = (_box_matrix(box, size, images.device) for size in (images.shape[3], images.shape[2]))
    values = images.float()
    for _ in range(PASSES):
        values = _rounded(values.flatten(1, 2) @ across.mT, images).view(images.shape)
    for _ in range(PASSES):
        values = _rounded(down[:, None] @ values, images)
    return values.to(images.dtype)


def _rounded(values: Tensor, images: Tensor) -> Tensor:
    return values if images.is_floating_point() else values.add_(0.5).floor_()


def box_radius(sigma: Tensor) -> Tensor:
    """Half the box, its fraction included, whose third power is nearest to a Gaussian: paper's section 3, as Pillow."""
    variance = sigma**2 / PASSES
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole + rest


def _box_matrix(box: Tensor, size: int, device: torch.device) -> Tensor:
    """float32 (N, size, size): row i holds the weights of the pixels that pixel i is a mean of."""
    reach = int(box.max()) + 1
    steps = torch.arange(-reach, reach + 1)
    weights = (box[:, None] + 1 - steps.abs()).clamp(0, 1) / (2 * box[:, None] + 1)
    sources = (torch.arange(size)[:, None] + steps).clamp(0, size - 1).to(device)
    weights = weights.float().to(device, non_blocking=True)[:, None].expand(-1, size, -1)
    matrix = torch.zeros(len(box), size, size, device=device)
    return matrix.scatter_add_(2, sources.expand(len(box), -1, -1), weights)
