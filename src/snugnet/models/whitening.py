"""A first layer that needs no training (Keller Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 5e-4  # keeps the filters of the weakest components from amplifying noise


@torch.no_grad()
def whiten(conv: nn.Module, images: Tensor) -> None:
    """Sets the filters of `conv` so that the patches of `images` (N, C, H, W) come out with unit covariance: the
    eigenvectors of the patches' covariance over the root of their eigenvalues, the strongest first, then their
    negatives. The bias becomes 0."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    patches = F.unfold(images, conv.kernel_size).transpose(1, 2).flatten(0, 1)
    covariance = patches.T @ patches / len(patches)
    values, vectors = torch.linalg.eigh(covariance.double())
    filters = (vectors / (values + EPSILON).sqrt()).T.flip(0)[: conv.out_channels // 2]
    filters = filters.float().view(-1, *conv.weight.shape[1:])
    conv.weight.copy_(torch.cat([filters, -filters]))
    conv.bias.zero_()
