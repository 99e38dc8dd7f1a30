"""Blur: five kinds. Strengths are CIFAR-10-C's but for glass, in pixels of a 32x32 image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from snugnet.evaluate.corrupt.draws import Draws
from snugnet.evaluate.corrupt.fields import gaussian, grain, moved, streaked, unit, zoomed

GAUSSIAN = (0.4, 0.6, 0.7, 0.8, 1.0)
DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))  # radius of a disk, sigma that softens it
GLASS = ((0.25, 1), (0.5, 1), (0.75, 1), (1.0, 1), (1.0, 2))  # share of pixels that are moved, how often
GLASS_SIGMA = 0.4  # of the blur before and behind
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))  # radius, sigma
ZOOM = (5, 10, 15, 20, 25)  # the largest enlargement, in percent


def gaussian_blur(images: Tensor, draws: Draws, strength: int) -> Tensor:  # noqa: ARG001
    return gaussian(images, GAUSSIAN[strength] * grain(images))


def defocus_blur(images: Tensor, draws: Draws, strength: int) -> Tensor:  # noqa: ARG001
    """A disk on the grid of pixels, softened within one pixel around."""
    radius, sigma = (value * grain(images) for value in DEFOCUS[strength])
    reach = int(radius) + 1
    grid = torch.arange(-reach, reach + 1.0)
    disk = (grid[:, None] ** 2 + grid**2 <= radius**2).float()[None, None]
    taps = torch.exp(-0.5 * (torch.arange(-1.0, 2) / sigma) ** 2)
    taps /= taps.sum()
    kernel = F.conv2d(F.pad(disk / disk.sum(), (1,) * 4), (taps[:, None] * taps)[None, None])
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    channels = images.shape[1]
    return F.conv2d(padded, kernel.to(images).expand(channels, -1, -1, -1), groups=channels)


def glass_blur(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Pixels are moved by up to one place, between two blurs.

    In the paper each pixel of one row after the other changes places with a neighbour, as often at strength 1 as at 3,
    and strengths differ in the blur, which hides the harm again. Here a growing share takes the values of neighbours.
    """
    share, times = GLASS[strength]
    scale = grain(images)
    images = gaussian(images, GLASS_SIGMA * scale)
    for _ in range(times):
        offsets = (scale * draws.uniform(-1.5, 1.5, 2, *images.shape[2:])).round().long()
        offsets *= draws.uniform(0, 1, 1, *images.shape[2:]) < share
        images = moved(images, offsets[:, 0], offsets[:, 1])
    return gaussian(images, GLASS_SIGMA * scale)


def motion_blur(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Along a direction within 45 degrees of the horizontal."""
    radius, sigma = (value * unit(images) for value in MOTION[strength])
    return streaked(images, draws.uniform(-45, 45), radius, sigma)


def zoom_blur(images: Tensor, draws: Draws, strength: int) -> Tensor:  # noqa: ARG001
    """The mean of the image, twice, and of enlargements in steps of one percent."""
    steps = range(ZOOM[strength] + 1)
    return (images + sum(zoomed(images, 1 + step / 100) for step in steps)) / (len(steps) + 1)
