"""Augmentations of the user's own, by import path: `{ op = "mypackage.ops:Solarise", options = { threshold = 128 } }`.

The protocol: `Solarise(**options)` gives what is called with (images, draw) for every batch and returns the images
changed, of the same shape and type. It is called with those images alone that are to change, and `draw` is of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor

from snugnet import foreign
from snugnet.config import Frozen
from snugnet.data.augment.draw import Draw, Probability, on_chosen
from snugnet.errors import RecipeError

Apply = Callable[[Tensor, Draw], Tensor]


class Foreign(Frozen):
    """`p` and which images may be changed at all are seen to around the user's code, as around ours."""

    takes_floats: ClassVar[bool] = True
    op: foreign.ImportPath
    options: foreign.Options = Field(default={})
    p: Probability = 1.0

    def made(self) -> Apply:
        """Its own code made, to be applied to batches; which images change is drawn here. Raises RecipeError."""
        change = self._checked()
        return lambda images, draw: on_chosen(images, draw, draw.chance(self.p), change)

    def try_out(self, images: Tensor) -> None:
        """Changes all of the images once. Raises RecipeError."""
        self._checked()(images, Draw.of(Generator(), images))

    def _checked(self) -> Apply:
        """What was made; its images are held to the shape and type of those it was given."""
        own = foreign.made("augmentation", self.op, self.options)

        def change(images: Tensor, draw: Draw) -> Tensor:
            wanted = _words(images)
            with foreign.explained(f"augmentation {self.op}: cannot change {wanted}"), torch.no_grad():
                changed = own(images, draw)
            if not isinstance(changed, Tensor) or _words(changed) != wanted:
                raise RecipeError(
                    f"augmentation {self.op}: must return {wanted}, as it was given; got {_words(changed)}"
                )
            return changed

        return change


def _words(value: object) -> str:
    """ "uint8 images (2, 3, 32, 32) on cpu", or what else it is."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} images {tuple(value.shape)} on {value.device}"
