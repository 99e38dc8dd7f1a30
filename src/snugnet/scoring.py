"""What is asked of a net: its logits on images, by the batches that fit any size of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from snugnet.artifact import Shipped
from snugnet.data.config import Normalization
from snugnet.data.images import Images
from snugnet.data.loader import Change, EvalLoader
from snugnet.data.splits import Splits
from snugnet.device import Compute, Precision
from snugnet.evaluate.tta import Looks, TtaConfig, look

EVAL_BATCH, EVAL_SIDE = 125, 32  # so many images of that side, fewer of larger ones; maps of more leave the cache


def eval_loader(
    images: Images, normalization: Normalization | None, where: torch.device, change: Change | None = None
) -> EvalLoader:
    """A split in batches that take about as much memory whatever the images' size."""
    return EvalLoader(images, normalization, batch_size=as_many(EVAL_BATCH, images), device=where, change=change)


def as_many(count: int, images: Images) -> int:
    """`count`, or of larger images as many as have the pixels of so many 32x32 ones."""
    return of_side(count, images.pixels.shape[2])


def of_side(count: int, side: int) -> int:
    """The same for images of a known side."""
    return max(1, min(count, count * EVAL_SIDE**2 // side**2))


def sample(data: Splits, count: int) -> Iterator[torch.Tensor]:
    """Normalised batches of the first training images in their order by content, a fixed random sample: `count` of
    32x32 pixels, and fewer of larger ones."""
    rows = torch.arange(min(as_many(count, data.train), len(data.train)))
    return iter(eval_loader(data.train.select(rows), data.normalization, torch.device("cpu")))


def logits_of(shipped: Shipped, images: Images, where: torch.device) -> torch.Tensor:
    """fp32 logits (N, classes) of a shipped net, on the CPU."""
    return Net.of(shipped, where).look(images).plain


@dataclass(frozen=True)
class Net:
    """What is judged: a module that takes normalised batches on a device; without a normalisation images come so."""

    module: nn.Module
    normalization: Normalization | None
    where: torch.device
    precision: Precision = "fp32"  # of scores, whatever the training computed in

    @classmethod
    def of(cls, shipped: Shipped, where: torch.device, precision: Precision = "fp32") -> Net:
        model = shipped.model.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(model, shipped.card.normalization, where, precision)

    @property
    def compute(self) -> Compute:
        return Compute(self.where, self.precision)

    def loader(self, images: Images, change: Change | None = None) -> EvalLoader:
        return eval_loader(images, self.normalization, self.where, change)

    def look(self, images: Images, tta: TtaConfig | None = None) -> Looks:
        """What it says of images, on the CPU."""
        seen = look(self.module, self.loader(images), self.compute, tta)
        return Looks(seen.plain.cpu(), seen.averaged.cpu())
