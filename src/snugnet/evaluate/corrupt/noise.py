"""Noise: four kinds. Strengths are CIFAR-10-C's (Hendrycks and Dietterich 2019, make_cifar_c.py)."""

from __future__ import annotations

import torch
from torch import Tensor

from snugnet.evaluate.corrupt.draws import Draws

GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)
PHOTONS = (500, 250, 100, 75, 50)
SPECKLE = (0.06, 0.1, 0.12, 0.16, 0.2)
IMPULSES = (0.01, 0.02, 0.03, 0.05, 0.07)


def gaussian_noise(images: Tensor, draws: Draws, strength: int) -> Tensor:
    return images + GAUSSIAN[strength] * draws.normal(*images.shape[1:])


def shot_noise(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Photons are counted, so many for white."""
    return draws.poisson(images * PHOTONS[strength]) / PHOTONS[strength]


def speckle_noise(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """In proportion to the value."""
    return images + images * (SPECKLE[strength] * draws.normal(*images.shape[1:]))


def impulse_noise(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Salt and pepper in equal parts, in each channel by itself."""
    drawn, share = draws.uniform(0, 1, *images.shape[1:]), IMPULSES[strength]
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn < share, 1.0, images))
