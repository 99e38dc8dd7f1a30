"""Images that look like photographs, and the way to Pillow and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

SHAPES = [(3, 32, 32), (1, 32, 32), (3, 17, 40), (1, 8, 8)]  # channels, height, width


def photos(count: int, channels: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    """uint8 (N, C, H, W): smooth, a little noisy, some of them of few levels."""
    random = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.rand(count, channels, 4, 4, generator=random), (height, width), mode="bicubic")
    contrast = 30 + 250 * torch.rand(count, 1, 1, 1, generator=random)
    noise = 6 * torch.randn(count, channels, height, width, generator=random)
    return (smooth * contrast + noise).clamp(0, 255).to(torch.uint8)


def to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())


def from_pillow(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def by_pillow(change: Callable[..., Image.Image], images: Tensor, *levels: Tensor) -> Tensor:
    """`change(image, *levels)` of each image with its own levels, as Python numbers or lists."""
    rows = zip(*(level.tolist() for level in levels), strict=True) if levels else [()] * len(images)
    return torch.stack([from_pillow(change(to_pillow(image), *row)) for image, row in zip(images, rows, strict=True)])


def difference(first: Tensor, second: Tensor) -> int:
    """The largest, in levels."""
    return int((first.int() - second.int()).abs().max())
