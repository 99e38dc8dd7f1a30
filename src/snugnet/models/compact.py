"""Transformer blocks on maps, behind a stem of convolutions or stages of them (CCT, Hassani et al. 2021, arXiv
2104.05704).

Each place of a map is a token, and linear layers are 1x1 convolutions, so that all of it is counted, folded and kept as
other nets are. Departures from the paper: norms stand in front of attention and of the layers behind it, both on the
way that is added; tokens come from convolutions with batch norm; attention has no dropout of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet.models.layers import Block, DropPath


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(N, C, H, W), normalised over the channels of each place."""
    return F.layer_norm(x.movedim(1, -1), weight.shape, weight, bias, eps).movedim(-1, 1)


def attended(x: Tensor, heads: int) -> Tensor:
    """(N, 3C, H, W), the queries, keys and values of each place, to (N, C, H, W): means of all places' values."""
    size = x.shape[2:]
    parts: Tensor = x.flatten(2).unflatten(1, (3, heads, -1))  # (N, 3, heads, width, places)
    queries, keys, values = parts.transpose(3, 4).unbind(1)
    found = F.scaled_dot_product_attention(queries, keys, values)
    map_: Tensor = found.transpose(2, 3).flatten(1, 2).unflatten(2, size)  # without the number of images, for exports
    return map_


def weighed(x: Tensor, scores: Tensor) -> Tensor:
    """(N, C, H, W) and (N, 1, H, W) to (N, C, 1, 1): a mean over places, weighed by the softmax of their scores."""
    shares = scores.flatten(2).softmax(2)
    return (x.flatten(2) @ shares.transpose(1, 2)).unsqueeze(-1)


class LayerNorm(nn.Module):
    """Of the channels of each place."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)


class Positions(nn.Module):
    """Adds a learned number to each channel of each place."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(channels, side, side))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class Attend(nn.Module):
    """Attention of several heads, between the convolutions that make queries, keys and values and the one behind."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        return attended(x, self.heads)


class Weigh(nn.Module):
    """The mean over places with shares as scores say: the paper's sequence pooling."""

    def forward(self, x: Tensor, scores: Tensor) -> Tensor:
        return weighed(x, scores)


class AttentionPool(nn.Module):
    """(N, C, H, W) to (N, C, 1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, 1, 1)
        self.weigh = Weigh()

    def forward(self, x: Tensor) -> Tensor:
        return self.weigh(x, self.score(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Attention over all places, then two 1x1 convolutions, each added to what it reads: (N, C, H, W) as it came."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        channels, inner = block.channels_out, block.inner
        self.norm1 = LayerNorm(channels)
        self.attention = nn.Sequential(
            nn.Conv2d(channels, 3 * channels, 1, bias=False),
            Attend(block.stage.heads),
            nn.Conv2d(channels, channels, 1),
        )
        self.norm2 = LayerNorm(channels)
        self.inner = nn.Sequential(nn.Conv2d(channels, inner, 1), block.act(), nn.Conv2d(inner, channels, 1))
        self.dropout = nn.Dropout(block.stage.dropout)
        self.drop_path = DropPath(block.drop_path) if block.drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.dropout(self.attention(self.norm1(x))))
        return x + self.drop_path(self.dropout(self.inner(self.norm2(x))))  # type: ignore[no-any-return]


FLOATING = (LayerNorm, Positions, Attend, Weigh)  # what integers do not compute


def macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-adds of the products that attention takes for one image: no layer with weights has them."""
    channels, places = inputs[0].shape[1], inputs[0].shape[2:].numel()
    if isinstance(module, Attend):  # queries by keys, and values by their shares
        return 2 * channels // 3 * places**2
    return channels * places if isinstance(module, Weigh) else 0
