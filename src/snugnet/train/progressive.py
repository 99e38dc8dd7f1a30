"""Progressive resolution: small images first, for a net learns coarse shapes from fewer multiplications."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F

from snugnet.config import Frozen

Sizer = Callable[[Tensor, int], Tensor]


class SizeConfig(Frozen):
    """Images are shown `size` x `size` until this share of the training is over (0.3 of 10 epochs: for 3 epochs)."""

    until: Annotated[float, Field(gt=0, lt=1)]
    size: Annotated[int, Field(ge=4, le=1024)]


def _rising(sizes: tuple[SizeConfig, ...]) -> tuple[SizeConfig, ...]:
    if any(later.until <= earlier.until for earlier, later in pairwise(sizes)):
        raise ValueError(f"'until' must rise; got {[each.until for each in sizes]}")
    return sizes


Progressive = Annotated[tuple[SizeConfig, ...], AfterValidator(_rising)]


def build(sizes: tuple[SizeConfig, ...], total_steps: int) -> Sizer:
    """(images (N, C, H, W) float, step from 0 over the whole training) to the images at that step's size."""

    def sized(images: Tensor, step: int) -> Tensor:
        size = next((each.size for each in sizes if step < each.until * total_steps), images.shape[-1])
        return images if size == images.shape[-1] else resized(images, size)

    return sized


def resized(images: Tensor, size: int) -> Tensor:
    """Bilinear with antialiasing, as Pillow resizes: every old pixel has its share in a new one."""
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
