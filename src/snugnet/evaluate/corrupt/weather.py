"""Weather and light: snow, frost, fog, brightness. Strengths are CIFAR-10-C's; the paper lays photos of frost over
the image, and here frost is drawn: ridges of a rough cloud."""

from __future__ import annotations

import torch
from torch import Tensor

from snugnet.evaluate.corrupt.draws import Draws
from snugnet.evaluate.corrupt.fields import clouds, grey, streaked, unit, zoomed

SNOW = (  # mean and deviation of flakes, their size, the least that is one, radius and sigma of the fall, image's share
    (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
FROST = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))  # shares of image and frost
FROST_DECAY, FROST_SHARPNESS, HOAR, ICE = 1.45, 3.0, 0.3, (0.82, 0.93, 1.0)  # chosen by eye; hoar lies everywhere
FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))  # how much, how smooth
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)


def snow(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Flakes that fall, in two layers, before a whitened image."""
    mean, deviation, size, least, radius, sigma, kept = SNOW[strength]
    flakes = zoomed(mean + deviation * draws.normal(1, *images.shape[2:]), size)
    flakes = torch.where(flakes < least, 0.0, flakes).clamp(0, 1)
    flakes = streaked(flakes, draws.uniform(-135, -45), radius * unit(images), sigma * unit(images))
    white = torch.maximum(images, 1.5 * grey(images) + 0.5)
    return kept * images + (1 - kept) * white + flakes + flakes.flip(2, 3)


def frost(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Crystals: bright where the cloud is at its middle height, thin elsewhere."""
    kept, share = FROST[strength]
    ridges = 1 - (2 * clouds(draws, images.shape[2:], FROST_DECAY) - 1).abs()
    ice = torch.tensor(ICE, device=images.device) if images.shape[1] == 3 else torch.ones(1, device=images.device)
    return kept * images + share * (HOAR + (1 - HOAR) * ridges**FROST_SHARPNESS) * ice.view(1, -1, 1, 1)


def fog(images: Tensor, draws: Draws, strength: int) -> Tensor:
    much, decay = FOG[strength]
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + much * clouds(draws, images.shape[2:], decay)) * brightest / (brightest + much)


def brightness(images: Tensor, draws: Draws, strength: int) -> Tensor:  # noqa: ARG001
    """More of the value in HSV: hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    brighter = (value + BRIGHTNESS[strength]).clamp(max=1)
    return torch.where(value > 0, images * (brighter / value.clamp(min=1e-6)), brighter)
