"""The operations that policies choose from, by name, and images grouped by the one chosen for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snugnet.data.augment import colour, resample
from snugnet.data.augment.draw import Draw
from snugnet.data.augment.resample import Interpolation

IDENTITY = -1
Change = Callable[[Tensor, Tensor], Tensor]

GEOMETRIC: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {  # level (N,), images: maps
    "shear_x": lambda level, images: resample.shear_x(level),
    "shear_y": lambda level, images: resample.shear_y(level),
    "translate_x": lambda level, images: resample.translate_x(level),
    "translate_y": lambda level, images: resample.translate_y(level),
    "rotate": resample.rotation,
}
COLOUR: Mapping[str, Change] = {  # images, level (N,): images
    "brightness": lambda images, level: colour.brightness(images, 1 + level),
    "color": lambda images, level: colour.color(images, 1 + level),
    "contrast": lambda images, level: colour.contrast(images, 1 + level),
    "sharpness": lambda images, level: colour.sharpness(images, 1 + level),
    "posterize": colour.posterize,
    "solarize": colour.solarize,
    "autocontrast": lambda images, level: colour.autocontrast(images),
    "equalize": lambda images, level: colour.equalize(images),
    "invert": lambda images, level: colour.invert(images),
}
NAMES = (*GEOMETRIC, *COLOUR)
SIGNED = frozenset((*GEOMETRIC, "brightness", "color", "contrast", "sharpness"))


@dataclass(frozen=True)
class Levels:
    """A table of levels: `values[k, bin]` is what operation `names[k]` does at a bin, float64 on the CPU."""

    names: tuple[str, ...]
    values: Tensor

    @classmethod
    def of(cls, spans: Mapping[str, Tensor], bins: int) -> Levels:
        """From levels by name; an operation that has none (autocontrast) gets zeros."""
        none = torch.zeros(bins, dtype=torch.float64)
        return cls(tuple(spans), torch.stack([values.double() if len(values) else none for values in spans.values()]))

    def apply(
        self, images: Tensor, draw: Draw, kinds: Tensor, bins: Tensor, interpolation: Interpolation = "nearest"
    ) -> Tensor:
        """Operation `names[kinds[i]]` at bin `bins[i]` on image i, signs drawn; none where `kinds` is IDENTITY."""
        signed = torch.tensor([name in SIGNED for name in self.names])[kinds]
        level = self.values[kinds, bins] * torch.where(signed, draw.signs(), 1)
        return apply_named(images, [NAMES.index(name) for name in self.names], kinds, level, interpolation)


def apply_named(
    images: Tensor, numbers: Sequence[int], kinds: Tensor, level: Tensor, interpolation: Interpolation
) -> Tensor:
    """Each operation once, on the images that chose it; all that move pixels in one resampling."""
    images = images.clone()
    number = torch.tensor([*numbers, IDENTITY])[kinds]  # IDENTITY is the last place from the end, too
    moved = ((number >= 0) & (number < len(GEOMETRIC))).nonzero().flatten()
    if len(moved):
        place = moved.to(images.device, non_blocking=True)
        maps = _maps(images, number[moved], level[moved])
        images.index_copy_(0, place, resample.resample(images[place], maps, interpolation))
    for at, name in enumerate(COLOUR, start=len(GEOMETRIC)):
        rows = (number == at).nonzero().flatten()
        if len(rows):
            place = rows.to(images.device, non_blocking=True)
            images.index_copy_(0, place, COLOUR[name](images[place], level[rows]))
    return images


def _maps(images: Tensor, number: Tensor, level: Tensor) -> Tensor:
    maps = torch.empty(len(level), 6, dtype=torch.float64)
    for at, name in enumerate(GEOMETRIC):
        rows = number == at
        maps[rows] = GEOMETRIC[name](level[rows], images)
    return maps
