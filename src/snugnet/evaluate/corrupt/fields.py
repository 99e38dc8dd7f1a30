"""What corruptions are made of: filters and zooms as matrices over rows and columns, streaks, and clouds.

Images are float32 (N, C, H, W). Lengths are in pixels of an image of 32; `unit` stretches them to others.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import torch
from torch import Tensor

from snugnet.evaluate.corrupt.draws import Draws

SIDE = 32
CUT = 4.0  # sigmas that a Gaussian reaches
GREY = (0.299, 0.587, 0.114)


def unit(images: Tensor) -> float:
    """How many pixels of these images one of a 32x32 image is."""
    return images.shape[-1] / SIDE


def grain(images: Tensor) -> float:
    """The same for blurs of about a pixel, which would do nothing if they shrank with smaller images."""
    return max(1.0, unit(images))


def separable(images: Tensor, make: Callable[[int], Tensor]) -> Tensor:
    """`make(n)` is (m, n): what the m results of a row, and of a column, are sums of."""
    down, across = (make(size).to(images) for size in images.shape[2:])
    return down @ images @ across.T


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Blurred by a Gaussian; borders are repeated."""
    reach = int(CUT * sigma + 0.5)
    taps = torch.tensor([exp(-0.5 * (step / sigma) ** 2) for step in range(-reach, reach + 1)])
    taps /= taps.sum()

    def make(size: int) -> Tensor:
        sources = (torch.arange(size)[:, None] + torch.arange(-reach, reach + 1)).clamp(0, size - 1)
        return torch.zeros(size, size).scatter_add_(1, sources, taps.expand(size, -1).contiguous())

    return separable(images, make)


def zoomed(images: Tensor, factor: float) -> Tensor:
    """The middle, enlarged to the whole by bilinear interpolation."""

    def make(size: int) -> Tensor:
        sources = (torch.arange(size) - (size - 1) / 2) / factor + (size - 1) / 2
        return (1 - (sources[:, None] - torch.arange(size)).abs()).clamp(min=0)

    return separable(images, make)


def moved(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Each image takes its pixels from so many rows below and columns to the right, int64 (N,) or (N, H, W); borders
    are repeated."""
    count, _, height, width = images.shape
    rows = torch.arange(height, device=images.device).view(1, -1, 1) + down.view(count, *down.shape[1:] or (1, 1))
    columns = torch.arange(width, device=images.device).view(1, 1, -1) + right.view(count, *right.shape[1:] or (1, 1))
    places = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    return images.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, images.shape[1], -1)).view(images.shape)


def streaked(images: Tensor, degrees: Tensor, radius: float, sigma: float) -> Tensor:
    """Smeared to one side along a direction of each image's own: the falling half of a Gaussian, as ImageMagick's
    motion blur has it. `degrees` (N,)."""
    length = round(2 * radius) + 1
    weights = [exp(-0.5 * (step / sigma) ** 2) for step in range(min(length, int(CUT * sigma) + 1))]
    angle = degrees.deg2rad()
    result = torch.zeros_like(images)
    for step, weight in enumerate(weights):
        down, right = ((step * part).round().long() for part in (angle.sin(), angle.cos()))
        result += moved(images, down, right) * (weight / sum(weights))
    return result


def clouds(draws: Draws, size: torch.Size, decay: float) -> Tensor:
    """(N, 1, *size) in [0, 1]: plasma by midpoint displacement (diamond-square), whose displacements shrink by
    decay^2 at each halving; larger is smoother. Its edges meet those of its other side."""
    height, width = size
    side = 1 << (max(size) - 1).bit_length()
    noise = draws.uniform(-1, 1, side, side)
    values = torch.zeros_like(noise)
    step, reach = side, 1.0
    while step >= 2:
        half = step // 2
        corners = values[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        middle = (pairs + pairs.roll(-1, 2)) / 4 + reach * noise[:, half::step, half::step]
        values[:, half::step, half::step] = middle
        for over, along, axis in (((0, half), 2, 1), ((half, 0), 1, 2)):
            place = (slice(None), slice(over[0], None, step), slice(over[1], None, step))
            around = corners + corners.roll(-1, along) + middle + middle.roll(1, axis)
            values[place] = around / 4 + reach * noise[place]
        step, reach = half, reach / decay**2
    values -= values.amin((1, 2), keepdim=True)
    values /= values.amax((1, 2), keepdim=True)
    return values[:, None, :height, :width]


def grey(images: Tensor) -> Tensor:
    """(N, 1, H, W): the luminance of colours, the mean of any other number of channels."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
