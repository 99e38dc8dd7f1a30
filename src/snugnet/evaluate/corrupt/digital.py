"""Digital: contrast, saturation, elastic, pixelate; and occlusion, which the paper has not.

Strengths are CIFAR-10-C's, in pixels of a 32x32 image. JPEG has a module of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from snugnet.evaluate.corrupt.draws import Draws
from snugnet.evaluate.corrupt.fields import gaussian, unit

CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
SATURATE = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))  # times, plus
ELASTIC = ((0.0, 0.0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96))
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
HIDDEN = (0.05, 0.1, 0.2, 0.3, 0.4)  # of the area


def contrast(images: Tensor, draws: Draws, strength: int) -> Tensor:  # noqa: ARG001
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * CONTRAST[strength] + mean


def saturate(images: Tensor, draws: Draws, strength: int) -> Tensor:  # noqa: ARG001
    """The saturation in HSV; a pixel without any stays grey, where the paper's conversion would make it red."""
    times, plus = SATURATE[strength]
    value = images.amax(1, keepdim=True)
    lost = value - images
    saturation = lost.amax(1, keepdim=True) / value.clamp(min=1e-6)
    new = (saturation * times + plus).clamp(0, 1)
    return value - lost * (new / saturation.clamp(min=1e-6))


def elastic(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Three points jump by up to `jump` each way and the image with them, then its pixels wave: by `wave` times noise
    that was smoothed by `sigma`. Sampled once for both, bilinear; borders are reflected."""
    wave, sigma, jump = (value * unit(images) for value in ELASTIC[strength])
    count, height, width = len(images), *images.shape[2:]
    middle = torch.tensor([width // 2, height // 2], device=images.device)
    third = min(height, width) // 3
    corners = middle + third * torch.tensor([[1, 1], [1, -1], [-1, -1]], device=images.device)
    ends = corners + draws.uniform(-jump, jump, 3, 2)
    one = torch.ones(count, 3, 1, device=images.device)
    back = torch.linalg.solve(torch.cat([ends, one], 2), corners.float().expand(count, -1, -1))  # (N, 3, 2)
    x, y = torch.arange(width, device=images.device), torch.arange(height, device=images.device)
    places = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)]).float().expand(count, -1, -1, -1)
    if wave:
        places = places + wave * gaussian(draws.uniform(-1, 1, 2, height, width), sigma)
    sources = places.permute(0, 2, 3, 1) @ back[:, None, :2] + back[:, None, None, 2]
    grid = sources * (2 / torch.tensor([max(width - 1, 1), max(height - 1, 1)], device=images.device)) - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def pixelate(images: Tensor, draws: Draws, strength: int) -> Tensor:  # noqa: ARG001
    """Fewer pixels by area, and back: bitwise what Pillow's BOX does in two resizings."""
    small = [int(size * PIXELATE[strength]) or 1 for size in images.shape[2:]]
    return _boxed(_boxed(images * 255, small), list(images.shape[2:])) / 255


def _boxed(levels: Tensor, sizes: list[int]) -> Tensor:
    """Rows, then columns, rounded to whole levels after each."""
    height, width = sizes
    across = (levels @ _box(levels.shape[3], width).to(levels).T).add_(0.5).floor_()
    return (_box(levels.shape[2], height).to(levels) @ across).add_(0.5).floor_()


def _box(old: int, new: int) -> Tensor:
    """(new, old): the shares of the old pixels that a new one is the mean of."""
    scale = max(old / new, 1.0)
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new)
    away = (torch.arange(old) + 0.5 - centres[:, None]) / scale
    inside = ((away > -0.5) & (away <= 0.5)).double()
    return inside / inside.sum(1, keepdim=True)


def occlusion(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """A square of one drawn colour hides a share of the image."""
    height, width = images.shape[2:]
    side = max(1, round(HIDDEN[strength] ** 0.5 * min(height, width)))
    top, left = (draws.uniform(0, 1, 2).T * torch.tensor([[height - side + 1], [width - side + 1]]).to(images)).floor()
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    hidden = _within(rows, top, side)[:, :, None] & _within(columns, left, side)[:, None]
    colour = draws.uniform(0, 1, images.shape[1], 1, 1)
    return torch.where(hidden[:, None], colour, images)


def _within(places: Tensor, first: Tensor, count: int) -> Tensor:
    """bool (N, places)."""
    return (places >= first[:, None]) & (places < first[:, None] + count)
