"""Test-time augmentation: several views of an image, and the weighted mean of what the net says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet.config import Frozen
from snugnet.data.loader import EvalLoader
from snugnet.device import Compute
from snugnet.evaluate.predict import predict

TtaName = Literal["mirror", "mirror_translate", "ten_crop", "patil25"]
MeanOf = Literal["logits", "probabilities"]
Views = Callable[
    [Tensor], list[tuple[float, Tensor]]
]  # of images (N, C, H, W): weights that sum to 1, and views, the images first
SIGMA, REACH = 1.0, 3  # patil25's Gaussian, cut off at three sigma


class TtaConfig(Frozen):
    """Which views, what of them is averaged, and the share of images (the least certain) that get all of them."""

    name: TtaName
    mean_of: MeanOf = "logits"
    least_certain: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def views(self) -> int:
        return len(VIEWS[self.name](torch.zeros(1, 1, 8, 8)))

    @property
    def passes(self) -> float:
        """Forward passes an image, on average."""
        return 1 + self.least_certain * (self.views - 1)


@dataclass(frozen=True)
class Looks:
    """What a net says of a split: float32 (N, classes). `averaged` is over all views; `plain` again without them."""

    plain: Tensor
    averaged: Tensor


@torch.no_grad()
def look(model: nn.Module, loader: EvalLoader, compute: Compute, config: TtaConfig | None) -> Looks:
    """One pass of the images as they are, every kind's first view, then the other views of those that get them.

    `averaged` holds mean logits, or logs of mean probabilities.
    """
    plain = predict(model, loader, compute)
    if config is None:
        return Looks(plain, plain)
    rows = least_certain(plain, config.least_certain)
    first = plain if config.mean_of == "logits" else plain.log_softmax(1)
    firsts = iter(first[rows].split(loader.batch_size))
    with compute.autocast():
        seen = [_averaged(model, images, next(firsts), config) for images in loader.only(rows)]
    return Looks(plain, first.index_copy(0, rows, torch.cat(seen)))


def least_certain(logits: Tensor, share: float) -> Tensor:
    """int64, rising: that share of the images, rounded up, whose two largest logits lie closest; of equal ones the
    earlier."""
    if share == 1 or logits.shape[1] < 2:
        return torch.arange(len(logits), device=logits.device)
    first, second = logits.topk(2, 1).values.unbind(1)
    rows: Tensor = (first - second).argsort(stable=True)[: ceil(share * len(logits))]
    return rows.sort().values


def _averaged(model: nn.Module, images: Tensor, first: Tensor, config: TtaConfig) -> Tensor:
    """The mean over all views, of which the first was seen before."""
    (share, _), *others = VIEWS[config.name](images)
    logs = config.mean_of == "probabilities"
    weights, said = [share], [first]
    for weight, view in others:
        logits = model(view.contiguous(memory_format=torch.channels_last)).float()
        weights.append(weight)
        said.append(logits.log_softmax(1) if logs else logits)
    shares = torch.tensor(weights, device=first.device).view(-1, 1, 1)
    return torch.logsumexp(torch.stack(said) + shares.log(), 0) if logs else (torch.stack(said) * shares).sum(0)


def _mirror(images: Tensor) -> list[tuple[float, Tensor]]:
    return [(0.5, images), (0.5, images.flip(-1))]


def _mirror_translate(images: Tensor) -> list[tuple[float, Tensor]]:
    """Six views: as it is, and one pixel up-left and down-right for half the weight, each mirrored (airbench)."""
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    size = images.shape[-1]
    moved = [padded[:, :, place : place + size, place : place + size] for place in (0, 2)]
    shown = [(0.5, images), *((0.25, each) for each in moved)]
    return [(weight * half, view) for weight, image in shown for half, view in _mirror(image)]


def _ten_crop(images: Tensor) -> list[tuple[float, Tensor]]:
    """Centre and corners of the image padded by two, each mirrored (Krizhevsky et al. 2012, section 4.1)."""
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    size = images.shape[-1]
    corners = [(2, 2), (0, 0), (0, 4), (4, 0), (4, 4)]
    crops = [padded[:, :, top : top + size, left : left + size] for top, left in corners]
    return [(half / len(crops), view) for crop in crops for half, view in _mirror(crop)]


def _patil25(images: Tensor) -> list[tuple[float, Tensor]]:
    """patil25's five: plain, mirrored, padded and cropped at the centre (the plain one again), blurred, upside down."""
    return [(0.4, images), (0.2, images.flip(-1)), (0.2, _blurred(images)), (0.2, images.flip(-2))]


def _blurred(images: Tensor) -> Tensor:
    """A Gaussian of sigma 1 along rows and columns, the borders reflected."""
    steps = torch.arange(-REACH, REACH + 1, device=images.device, dtype=images.dtype)
    taps = torch.softmax(-(steps**2) / (2 * SIGMA**2), 0)
    channels = images.shape[1]
    padded = F.pad(images, (REACH, REACH, REACH, REACH), mode="reflect")
    along = F.conv2d(padded, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(along, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


VIEWS: dict[str, Views] = {
    "mirror": _mirror,
    "mirror_translate": _mirror_translate,
    "ten_crop": _ten_crop,
    "patil25": _patil25,
}
