"""Where a net looks, of its answers alone: how much probability a class loses as parts of the image are hidden."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snugnet_runtime.model import Maps, Pixels

PATCHES = 4  # of a side, each moved by half of itself: as `snug explain` does it


def patch_and_stride(size: int) -> tuple[int, int]:
    patch = max(1, size // PATCHES)
    return patch, max(1, patch // 2)


def places(size: int) -> list[tuple[int, int]]:
    """(top, left) of the patches that cover a square image; the last of a row ends at the border."""
    patch, stride = patch_and_stride(size)
    starts = [*range(0, size - patch, stride), size - patch]
    return [(top, left) for top in starts for left in starts]


def hidden(image: Pixels, mean: Sequence[int]) -> list[Pixels]:
    """Copies of an image (C, H, W), each with a patch in the colour `mean`."""
    size = image.shape[-1]
    patch, _ = patch_and_stride(size)
    color = np.asarray(mean, np.uint8)[:, None, None]
    copies = []
    for top, left in places(size):
        copy = image.copy()
        copy[:, top : top + patch, left : left + patch] = color
        copies.append(copy)
    return copies


def lost(before: float, after: Sequence[float], size: int) -> Maps:
    """By stride, what a class of probability `before` loses where a patch is hidden, a pixel being worth the mean of
    the patches over it; below zero, it gains. `after` are in the order of `places`."""
    patch, stride = patch_and_stride(size)
    sums, over = np.zeros((size, size)), np.zeros((size, size))
    for share, (top, left) in zip(after, places(size), strict=True):
        sums[top : top + patch, left : left + patch] += before - share
        over[top : top + patch, left : left + patch] += 1
    return (sums / over)[::stride, ::stride]
