"""Policies: AutoAugment, RandAugment, TrivialAugment and AugMix, with the levels that torchvision gives them.

Pixels that come from outside are 0, as in torchvision.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from snugnet.data.augment.draw import Draw, Operation, per_image
from snugnet.data.augment.levels import IDENTITY, Levels
from snugnet.data.augment.resample import Interpolation

Bins = Annotated[int, Field(ge=2, le=1000)]

# AutoAugment, arXiv 1805.09501, Table 7: operation, probability, bin of ten; the two of a sub-policy in a row.
CIFAR10 = """
invert .1 0, contrast .2 6; rotate .7 2, translate_x .3 9
sharpness .8 1, sharpness .9 3; shear_y .5 8, translate_y .7 9
autocontrast .5 0, equalize .9 0; shear_y .2 7, posterize .3 7
color .4 3, brightness .6 7; sharpness .3 9, brightness .7 9
equalize .6 0, equalize .5 0; contrast .6 7, sharpness .6 5
color .7 7, translate_x .5 8; equalize .3 0, autocontrast .4 0
translate_y .4 3, sharpness .2 6; brightness .9 6, color .2 8
solarize .5 2, invert 0 0; equalize .2 0, autocontrast .6 0
equalize .2 0, equalize .6 0; color .9 9, equalize .6 0
autocontrast .8 0, solarize .2 8; brightness .1 3, color .7 0
solarize .4 5, autocontrast .9 0; translate_y .9 9, translate_y .7 9
autocontrast .9 0, solarize .8 3; equalize .8 0, invert .1 0
translate_y .7 9, autocontrast .9 0
"""


@lru_cache
def levels(
    bins: int,
    width: float,
    height: float,
    *,
    shear: float = 0.3,
    degrees: float = 30.0,
    blend: float = 0.9,
    bits: tuple[int, int] = (8, 4),
) -> Levels:
    """Evenly spaced from no change to the most; the shift's most is `width` and `height` pixels."""

    def span(last: float, first: float = 0.0) -> Tensor:
        return torch.linspace(first, last, bins)

    kept = bits[0] - (torch.arange(bins) / ((bins - 1) / (bits[0] - bits[1]))).round()
    none = torch.empty(0)
    return Levels.of(
        {
            "shear_x": span(shear),
            "shear_y": span(shear),
            "translate_x": span(width),
            "translate_y": span(height),
            "rotate": span(degrees),
            "brightness": span(blend),
            "color": span(blend),
            "contrast": span(blend),
            "sharpness": span(blend),
            "posterize": kept,
            "solarize": span(0.0, 255.0),
            "autocontrast": none,
            "equalize": none,
            "invert": none,
        },
        bins,
    )


def without_invert(table: Levels) -> Levels:
    """RandAugment and those after it left it out."""
    assert table.names[-1] == "invert"
    return Levels(table.names[:-1], table.values[:-1])


@lru_cache
def cifar10_policy(names: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Operation, probability and bin, (25, 2) each."""
    policies = [each.split(",") for each in CIFAR10.strip().replace("\n", ";").split(";")]
    words = [[part.split() for part in policy] for policy in policies]
    kinds = [[names.index(name) for name, _, _ in policy] for policy in words]
    chances = [[float(p) for _, p, _ in policy] for policy in words]
    bins = [[int(place) for _, _, place in policy] for policy in words]
    return torch.tensor(kinds), torch.tensor(chances), torch.tensor(bins)


class AutoAugment(Operation):
    """One of 25 sub-policies for each image: two operations, each with its own probability (arXiv 1805.09501, Table 7).

    avvari24, aswani22: the policy found on CIFAR-10, the only one here.
    """

    takes_floats: ClassVar[bool] = False
    op: Literal["auto_augment"]
    policy: Literal["cifar10"] = "cifar10"
    interpolation: Interpolation = "nearest"

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        table = levels(10, 150 / 331 * images.shape[3], 150 / 331 * images.shape[2])
        kinds, chances, bins = cifar10_policy(table.names)
        chosen = draw.integers(0, len(kinds))
        for turn in range(2):
            kind = torch.where(draw.uniform() < chances[chosen, turn], kinds[chosen, turn], IDENTITY)
            images = table.apply(images, draw, kind, bins[chosen, turn], self.interpolation)
        return images


class RandAugment(Operation):
    """`operations` drawn one after the other, all at one magnitude (Cubuk et al. 2019, arXiv 1909.13719)."""

    takes_floats: ClassVar[bool] = False
    op: Literal["rand_augment"]
    operations: Annotated[int, Field(ge=1, le=16)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9  # bin of 31
    interpolation: Interpolation = "nearest"

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        table = without_invert(levels(31, 150 / 331 * images.shape[3], 150 / 331 * images.shape[2]))
        bins = torch.full((len(draw),), self.magnitude)
        for _ in range(self.operations):
            images = table.apply(images, draw, draw.integers(IDENTITY, len(table.names)), bins, self.interpolation)
        return images


class TrivialAugment(Operation):
    """One operation at a drawn magnitude: TrivialAugment Wide (Müller and Hutter 2021, arXiv 2103.10158, Table 6)."""

    takes_floats: ClassVar[bool] = False
    op: Literal["trivial_augment"]
    bins: Bins = 31
    interpolation: Interpolation = "nearest"

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        wide = levels(self.bins, 32.0, 32.0, shear=0.99, degrees=135.0, blend=0.99, bits=(8, 2))
        table = without_invert(wide)
        kinds = draw.integers(IDENTITY, len(table.names))
        return table.apply(images, draw, kinds, draw.integers(0, self.bins), self.interpolation)


class AugMix(Operation):
    """A mean of `width` chains of operations, then of that and the image (Hendrycks et al. 2019, arXiv 1912.02781).

    Weights are Dirichlet(alpha), the last Beta(alpha, alpha). A chain is `depth` operations long, or 1 to 3 where it is
    0. As torchvision's AugMix with all_ops, the fraction of the mean cut off. Departure: the operations and the depth
    of each image are its own, also within a chain. The paper's consistency loss between views is not here.
    """

    takes_floats: ClassVar[bool] = False
    op: Literal["aug_mix"]
    severity: Annotated[int, Field(ge=1, le=10)] = 3
    width: Annotated[int, Field(ge=1, le=16)] = 3
    depth: Annotated[int, Field(ge=0, le=16)] = 0
    alpha: Annotated[float, Field(gt=0, le=100)] = 1.0
    interpolation: Interpolation = "bilinear"

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        kept, mixed = self._dirichlet(draw, 2).unbind(1)
        total = images * per_image(kept, images)
        for weight in self._dirichlet(draw, self.width).unbind(1):
            total += self._chain(images, draw) * per_image(mixed * weight, images)
        return (total + 1e-3).to(torch.uint8)  # a sum of weights a hair under 1 must not cost a level

    def _chain(self, images: Tensor, draw: Draw) -> Tensor:
        table = without_invert(levels(10, images.shape[3] / 3, images.shape[2] / 3, bits=(4, 0)))
        depth = torch.full((len(draw),), self.depth) if self.depth else draw.integers(1, 4)
        for done in range(self.depth or 3):
            kinds = torch.where(done < depth, draw.integers(0, len(table.names)), IDENTITY)
            images = table.apply(images, draw, kinds, draw.integers(0, self.severity), self.interpolation)
        return images

    def _dirichlet(self, draw: Draw, count: int) -> Tensor:
        return torch._sample_dirichlet(torch.full((len(draw), count), self.alpha), draw.generator)
