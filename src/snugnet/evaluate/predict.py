"""Logits of a net over a split."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snugnet.data.loader import EvalLoader
from snugnet.device import Compute


@torch.no_grad()
def predict(model: nn.Module, loader: EvalLoader, compute: Compute) -> Tensor:
    """Logits float32 (N, classes) of a split in its own order, on the device. Leaves the net in evaluation mode."""
    model.eval()
    with compute.autocast():
        return torch.cat([model(images).float() for images in loader])
