"""Colour jitter."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from snugnet.data.augment import colour
from snugnet.data.augment.draw import Draw, Operation

Strength = Annotated[float, Field(ge=0, le=10)]


class ColorJitter(Operation):
    """Brightness, contrast, saturation and hue by drawn factors, in an order drawn for each image.

    torchvision's ColorJitter: factors in [max(0, 1 - strength), 1 + strength], a turn of the hue in [-hue, hue] of the
    circle (tu24: 0.2, 0.2, 0.2). Gray images keep saturation and hue.
    """

    takes_floats: ClassVar[bool] = False
    op: Literal["color_jitter"]
    brightness: Strength = 0.0
    contrast: Strength = 0.0
    saturation: Strength = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    def _changed(self, images: Tensor, draw: Draw) -> Tensor:
        order = draw.uniform(0.0, 1.0, 4).argsort(1)
        strengths = (self.brightness, self.contrast, self.saturation)
        factors = [draw.uniform(max(0.0, 1 - strength), 1 + strength) for strength in strengths]
        factors.append(draw.uniform(-self.hue, self.hue))
        changes = (colour.brightness, colour.contrast, colour.color, colour.hue)
        active = [kind for kind, strength in enumerate((*strengths, self.hue)) if strength]
        for kinds in order.unbind(1):
            for kind in active:
                rows = (kinds == kind).nonzero().flatten()
                place = rows.to(images.device, non_blocking=True)
                changed = changes[kind](images[place], factors[kind][rows])
                images = images.index_copy(0, place, changed)
        return images
