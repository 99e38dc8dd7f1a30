"""Logits of a net over a split."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from snugnet.device import Compute


@torch.no_grad()
def predict(model: nn.Module, batches: Iterable[Tensor], compute: Compute) -> Tensor:
    """Logits float32 (N, classes) of batches on the device, in their order. Leaves the net in evaluation mode."""
    model.eval()
    with compute.autocast():
        return torch.cat([model(images).float() for images in batches])
