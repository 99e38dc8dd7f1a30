"""Images as they come from elsewhere: the standard corruptions at five strengths, and what they cost a net.

After Hendrycks and Dietterich 2019 (arXiv 1903.12261), with the strengths of their CIFAR-10-C, lengths stretched with
the image's side. docs/evaluate.md says where ours depart. A corrupted image is a function of its pixels, its place in
its split, the corruption and the strength: the same for every net.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snugnet.evaluate.corrupt import blur, digital, jpeg, noise, weather
from snugnet.evaluate.corrupt.draws import Draws

STRENGTHS = (1, 2, 3, 4, 5)
Corrupt = Callable[[Tensor, Draws, int], Tensor]  # float images in [0, 1], draws, strength from 0: images, not cut off


@dataclass(frozen=True)
class Corruption:
    family: str
    change: Corrupt
    needs_colour: bool = False


CORRUPTIONS = {
    "gaussian_noise": Corruption("noise", noise.gaussian_noise),
    "shot_noise": Corruption("noise", noise.shot_noise),
    "impulse_noise": Corruption("noise", noise.impulse_noise),
    "speckle_noise": Corruption("noise", noise.speckle_noise),
    "gaussian_blur": Corruption("blur", blur.gaussian_blur),
    "defocus_blur": Corruption("blur", blur.defocus_blur),
    "glass_blur": Corruption("blur", blur.glass_blur),
    "motion_blur": Corruption("blur", blur.motion_blur),
    "zoom_blur": Corruption("blur", blur.zoom_blur),
    "snow": Corruption("weather", weather.snow),
    "frost": Corruption("weather", weather.frost),
    "fog": Corruption("weather", weather.fog),
    "brightness": Corruption("weather", weather.brightness),
    "contrast": Corruption("digital", digital.contrast),
    "saturate": Corruption("digital", digital.saturate, needs_colour=True),
    "elastic": Corruption("digital", digital.elastic),
    "pixelate": Corruption("digital", digital.pixelate),
    "jpeg": Corruption("digital", jpeg.jpeg),
    "occlusion": Corruption("occlusion", digital.occlusion),
}
FAMILIES = tuple(dict.fromkeys(each.family for each in CORRUPTIONS.values()))


def corrupt(images: Tensor, places: Tensor, name: str, strength: int) -> Tensor:
    """uint8 (N, C, H, W), places in the split int64 (N,): uint8 of the same shape, `strength` 1 to 5."""
    draws = Draws(places, name, strength, images.device)
    changed = CORRUPTIONS[name].change(images.contiguous().float() / 255, draws, strength - 1)
    return changed.mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def named(words: Sequence[str], channels: int) -> tuple[str, ...]:
    """The corruptions that names, families and "all" stand for, in our order; of a family only what the images have
    the channels for. Unknown words are the caller's to refuse."""
    wide = {name for name, each in CORRUPTIONS.items() if channels == 3 or not each.needs_colour}
    chosen = {name for name in CORRUPTIONS if name in words}
    chosen |= {name for name in wide if "all" in words or CORRUPTIONS[name].family in words}
    return tuple(name for name in CORRUPTIONS if name in chosen)
