"""One way to ask any exported net: as a module of normalised images, whatever its file takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snugnet.artifact import Card
from snugnet.data.loader import Normalize


class Reread(nn.Module):
    """(N, C, H, W) normalised float images to (N, classes) float32 logits, computed on the CPU by `logits`.

    A file with its own pre-processing is given the pixels that were normalised; views between pixels are rounded.
    """

    def __init__(self, logits: Callable[[Tensor], Tensor], undo: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.logits, self._undo = logits, undo

    def forward(self, images: Tensor) -> Tensor:
        shown = images.cpu() if self._undo is None else self._undo(images.cpu())
        return self.logits(shown.contiguous(memory_format=torch.contiguous_format)).to(images.device)


def module_of(logits: Callable[[Tensor], Tensor], card: Card, *, raw: bool) -> Reread:
    """`logits` takes normalised float images where the file is `raw`, else uint8 ones."""
    return Reread(logits, None if raw else Normalize(card.normalization, torch.device("cpu")).undo).eval()
