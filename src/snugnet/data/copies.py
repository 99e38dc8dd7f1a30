"""Extra copies of training images: which are shown once more."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor

from snugnet.data.config import ExtraCopies
from snugnet.data.images import DataInfo, Images
from snugnet.errors import RecipeError


@dataclass(frozen=True)
class Copies:
    """`sources` (int64) are places in the training split; with `only`, nothing else is augmented."""

    sources: Tensor
    only: bool = False


NO_COPIES = Copies(torch.empty(0, dtype=torch.int64))


def extra_copies(config: ExtraCopies | None, info: DataInfo, train: Images) -> Copies:
    """Raises RecipeError where a class is not one of the data, or is named twice."""
    if config is None:
        return NO_COPIES
    labels = [_label(name, info) for name in config.classes]
    if twice := sorted({name for name in config.classes if config.classes.count(name) > 1}):
        raise RecipeError(f"data.extra_copies.classes: {', '.join(twice)}: named twice; name each class once")
    return Copies(torch.cat([_of_class(label, config.each, train) for label in labels]), config.augment == "copies")


def _label(name: str, info: DataInfo) -> int:
    if name in info.classes:
        return info.classes.index(name)
    near = get_close_matches(name, info.classes, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"its classes are {', '.join(info.classes)}"
    raise RecipeError(f"data.extra_copies.classes: {name!r} is no class of {info.name}; {remedy}")


def _of_class(label: int, each: int | None, train: Images) -> Tensor:
    own = (train.labels == label).nonzero().flatten()
    return own if each is None else own[torch.arange(each) % len(own)]
