"""Whether the C of a net gives what the net gives, bit for bit."""

from __future__ import annotations

import numpy as np
import torch

from snugnet.artifact import Shipped
from snugnet.data.loader import Normalize
from snugnet.errors import GateFailed
from snugnet.export_c.native import Native
from snugnet.export_c.program import program
from snugnet.export_c.write import integers

NOISE = 100  # images


def check_c(shipped: Shipped, images: torch.Tensor | None = None) -> int:
    """Runs the portable C here on uint8 images (N, C, H, W), noise where none are given; returns how many.

    Raises GateFailed where a logit differs, MissingExtra without a compiler, UsageError.
    """
    spec, constants = shipped.card.model, shipped.card.normalization
    if images is None:
        shape = (NOISE, spec.in_channels, spec.image_size, spec.image_size)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    _, seen = Native(program(integers(shipped), constants), fast=False)(images.permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        wanted = shipped.model(Normalize(constants, torch.device("cpu"))(images)).numpy()
    if different := int((seen != wanted).any(1).sum()):
        raise GateFailed(
            f"{shipped.path}: its C gives other logits on {different} of {len(images)} images, by up to "
            f"{float(np.abs(seen - wanted).max()):g}; compile with another compiler (CC), and report it"
        )
    return len(images)
