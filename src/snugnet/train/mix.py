"""Mixup and CutMix: pairs of images, and targets in the same shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from snugnet.config import Frozen
from snugnet.data.loader import derived_seed

Mixer = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]


class MixConfig(Frozen):
    """A batch is mixed with itself in another order, with probability `p` (patil25: cutmix, alpha 1, p 0.5).

    The share of an image is Beta(alpha, alpha), one for the batch as in the authors' codes. "either" takes one of the
    two for each batch, with equal chance.
    """

    name: Literal["mixup", "cutmix", "either"]
    alpha: Annotated[float, Field(gt=0, le=100)] = 1.0
    p: Annotated[float, Field(ge=0, le=1)] = 1.0


def build(config: MixConfig | None, seed: int, classes: int) -> Mixer:
    """(images (N, C, H, W), labels (N,), epoch, step) to images and labels, or targets (N, classes) where mixed.

    Draws belong to (seed, epoch, step). Without a configuration, nothing is done.
    """
    if config is None:
        return lambda images, labels, epoch, step: (images, labels)

    def mix(images: Tensor, labels: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        generator = Generator().manual_seed(derived_seed(seed, epoch, step, "mix"))
        if torch.rand((), generator=generator) >= config.p:
            return images, labels
        share = beta(config.alpha, generator)
        order = torch.randperm(len(labels), generator=generator).to(labels.device, non_blocking=True)
        if config.name == "mixup" or (config.name == "either" and torch.rand((), generator=generator) < 0.5):
            mixed = mixup(images, order, share)
        else:
            mixed, share = cutmix(images, order, share, generator)
        return mixed, soft_targets(labels, order, share, classes)

    return mix


def beta(alpha: float, generator: Generator) -> float:
    """A draw of Beta(alpha, alpha)."""
    share = torch._sample_dirichlet(torch.tensor([alpha, alpha], dtype=torch.float64), generator)
    return float(share[0])


def mixup(images: Tensor, order: Tensor, share: float) -> Tensor:
    """share * images + (1 - share) * images[order] (Zhang et al. 2017, arXiv 1710.09412, section 2)."""
    return images[order].lerp_(images, share)


def cutmix(images: Tensor, order: Tensor, share: float, generator: Generator) -> tuple[Tensor, float]:
    """A box of about 1 - share of the area, from images[order]; and the share of pixels that really stayed.

    Yun et al. 2019, arXiv 1905.04899, section 3.1: centred anywhere, clipped at the borders.
    """
    height, width = images.shape[2:]
    top, bottom = _interval(height, share, generator)
    left, right = _interval(width, share, generator)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _interval(size: int, share: float, generator: Generator) -> tuple[int, int]:
    """First and last + 1 of rows or columns; even in length before it is clipped, as in the authors' code."""
    half = int(size * (1 - share) ** 0.5) // 2
    centre = int(torch.randint(0, size, (), generator=generator))
    return max(0, centre - half), min(size, centre + half)


def soft_targets(labels: Tensor, order: Tensor, share: float, classes: int) -> Tensor:
    """float32 (N, classes) that sum to 1."""
    own = F.one_hot(labels, classes).float()
    return own.mul(share).add_(own[order], alpha=1 - share)
