"""Test-time augmentation: several views of an image, and the weighted mean of what the net says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet.config import Frozen
from snugnet.data.loader import EvalLoader
from snugnet.device import Compute

TtaName = Literal["mirror", "mirror_translate", "ten_crop", "patil25"]
Views = Callable[[Tensor], list[tuple[float, Tensor]]]  # of images (N, C, H, W): weights that sum to 1, and views
SIGMA, REACH = 1.0, 3  # patil25's Gaussian, cut off at three sigma


class TtaConfig(Frozen):
    """Which views, and whether logits or probabilities are averaged."""

    name: TtaName
    mean_of: Literal["logits", "probabilities"] = "logits"

    @property
    def passes(self) -> int:
        """Forward passes an image."""
        return len(VIEWS[self.name](torch.zeros(1, 1, 8, 8)))


@torch.no_grad()
def predict_views(model: nn.Module, loader: EvalLoader, compute: Compute, config: TtaConfig) -> Tensor:
    """As `predict`: float32 (N, classes), of mean logits, or logs of mean probabilities."""
    model.eval()
    with compute.autocast():
        return torch.cat([_averaged(model, images, config) for images in loader])


def _averaged(model: nn.Module, images: Tensor, config: TtaConfig) -> Tensor:
    views = VIEWS[config.name](images)
    said = [(weight, model(view.contiguous(memory_format=torch.channels_last)).float()) for weight, view in views]
    if config.mean_of == "logits":
        return torch.stack([weight * logits for weight, logits in said]).sum(0)
    return torch.stack([weight * logits.softmax(1) for weight, logits in said]).sum(0).log()


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
