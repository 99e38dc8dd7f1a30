"""What stands for a KxK convolution: several that are cheaper, or more branches in training than in the file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet.models.layers import Block, StridedPointwise
from snugnet.models.parts import Conv

MakeNorm = Callable[[int], nn.Module]


class Factored(nn.Sequential):
    """Convolutions in a row, all but the first and last of them 1x1."""

    def __init__(self, layers: OrderedDict[str, nn.Module], out_channels: int) -> None:
        super().__init__(layers)
        self.out_channels = out_channels


def factored(
    given: Conv, channels_in: int, out: int, kernel: int, stride: int, padding: int, norm: MakeNorm, *, bias: bool
) -> Factored:
    """(N, I, H, W) to (N, O, H/stride, W/stride); the last one alone may have a bias, as its authors have it."""
    middle = given.middle(channels_in, out)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if given.kind == "low-rank":
        layers["conv1"] = nn.Conv2d(channels_in, middle, kernel, stride, padding, bias=False)
        layers |= {"norm1": norm(middle)} if given.norm else {}
        layers["conv2"] = nn.Conv2d(middle, out, 1, bias=bias)
        return Factored(layers, out)
    widths = (channels_in, middle, out) if given.kind == "bsconv-s" else (channels_in, out)
    for number, (before, after) in enumerate(pairwise(widths), 1):
        layers[f"point{number}"] = nn.Conv2d(before, after, 1, bias=False)
        layers |= {f"norm{number}": norm(after)} if given.norm else {}
    layers["each"] = nn.Conv2d(out, out, kernel, stride, padding, groups=out, bias=bias)
    return Factored(layers, out)


class Merged(nn.Conv2d):
    """A convolution whose bias is all that a norm would do."""


class Branches(nn.Module):
    """KxK, 1x1 and the identity where shapes agree, a norm behind each, summed."""

    def __init__(self, block: Block, channels_in: int, out: int, stride: int) -> None:
        super().__init__()
        self.out_channels = out
        self.dense = block.conv_norm(channels_in, out, block.stage.kernel, stride)
        self.point = block.conv_norm(channels_in, out, 1, stride)
        self.identity = block.batch_norm(out) if channels_in == out and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.point(x)
        return y if self.identity is None else y + self.identity(x)  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged(self) -> tuple[Tensor, Tensor]:
        """The weight and bias of the one convolution that says the same in evaluation, in float64 and then rounded."""
        weight, bias = _with_norm(self.dense)
        point, more = _with_norm(self.point)
        ends = weight.shape[-1] // 2
        weight, bias = weight + F.pad(point, [ends] * 4), bias + more
        if self.identity is not None:
            scale, shift = _scale(self.identity)
            weight = weight + F.pad(torch.diag(scale)[:, :, None, None], [ends] * 4)
            bias = bias + shift
        return weight.float(), bias.float()


def _with_norm(layers: nn.Module) -> tuple[Tensor, Tensor]:
    conv = layers.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d)
    scale, shift = _scale(layers.get_submodule("norm"))
    shift = shift if conv.bias is None else shift + scale * conv.bias.double()
    return conv.weight.double() * scale[:, None, None, None], shift


def _scale(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a norm multiplies by and adds in evaluation."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - scale * norm.running_mean.double()


Convolution = nn.Conv2d | Factored | Branches


def kxk(
    block: Block, channels_in: int, out: int, stride: int = 1, padding: int | None = None, groups: int = 1
) -> Convolution:
    """The KxK convolution of a body, or what stands for it. Its stride is left out where a filter takes it."""
    kernel, given = block.stage.kernel, block.stage.conv
    stride = block.moves(stride)
    if given is None:
        return block.conv(channels_in, out, kernel, stride, groups, padding)
    if given.kind == "repvgg":
        return Branches(block, channels_in, out, stride)
    if given.kind == "merged":
        return Merged(channels_in, out, kernel, stride, kernel // 2)
    return factored(given, channels_in, out, kernel, stride, kernel // 2, block.batch_norm, bias=block.conv_bias)


def ends_in_norm(conv: nn.Module) -> bool:
    """Whether it does what a norm behind it would."""
    return isinstance(conv, (Branches, Merged))


LEAVES = (StridedPointwise, Merged)  # convolutions of our own
