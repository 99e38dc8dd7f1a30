"""Bodies of residual blocks: what stands between a block's input and the sum with its shortcut."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from snugnet.models.compact import Transformer
from snugnet.models.convs import Convolution, ends_in_norm, kxk
from snugnet.models.layers import Block, Shuffle


def _layers(block: Block, *convs: Convolution, strided: int = 1) -> nn.Sequential:
    """conv, norm, activation, dropout; conv, norm, ...: no activation after the last norm. A filter that takes the
    stride stands behind all that follows convolution `strided`."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, conv in enumerate(convs, 1):
        layers[f"conv{number}"] = conv
        if block.stage.even == "pool":
            layers[f"pool{number}"] = nn.AvgPool2d(2, stride=1)
        if not ends_in_norm(conv):
            layers[f"norm{number}"] = block.batch_norm(conv.out_channels)
        if number < len(convs):
            layers |= _activated(block, number)
        if number == strided:
            layers |= block.blurs()
    return nn.Sequential(layers)


def _activated(block: Block, number: int) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers[f"activation{number}"] = block.act()
    if block.stage.dropout:
        layers[f"dropout{number}"] = nn.Dropout(block.stage.dropout)
    return layers


def basic(block: Block) -> nn.Sequential:
    """Two KxK convolutions, the inner width between them; the first has the stride.

    An even kernel makes a map larger by one (aswani22, "Kernel Size Adjustment"). Its design 1, `even` "padding", pads
    the second convolution by one less; design 2, "pool", puts an average pool of 2 behind each.
    """
    padding = block.stage.kernel // 2 - (block.stage.even == "padding")
    first = kxk(block, block.channels_in, block.inner, block.stride)
    return _layers(block, first, kxk(block, block.inner, block.channels_out, padding=padding))


def bottleneck(block: Block) -> nn.Sequential:
    """1x1 to the inner width, KxK with the stride, 1x1 to channels (aswani22, tu24: `channels` is the output's)."""
    inner, groups = block.inner, block.stage.groups
    first, middle = block.conv(block.channels_in, inner, 1), kxk(block, inner, inner, block.stride, groups=groups)
    return _layers(block, first, middle, block.conv(inner, block.channels_out, 1), strided=2)


def single(block: Block) -> nn.Sequential:
    """One KxK convolution: the cheapest residual block (the lean ResNets of the speed records)."""
    return _layers(block, kxk(block, block.channels_in, block.channels_out, block.stride))


def preact(block: Block) -> nn.Sequential:
    """Norm and activation before each of two KxK convolutions (He et al. 2016, arXiv 1603.05027; avvari24's code)."""
    opening = OrderedDict[str, nn.Module](norm1=block.batch_norm(block.channels_in), activation1=block.act())
    return nn.Sequential(opening | _behind_opening(block))


def wide(block: Block) -> nn.Sequential:
    """The same, but where the shortcut is a convolution, it too reads what norm and activation leave, and those stand
    in front of both (Zagoruyko and Komodakis 2016, arXiv 1605.07146). The last of a row ends in norm and activation."""
    return nn.Sequential(_behind_opening(block)) if block.projects else preact(block)


def _behind_opening(block: Block) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = kxk(block, block.channels_in, block.inner, block.stride)
    layers["norm2"] = block.batch_norm(block.inner)
    layers |= _activated(block, 2)
    layers |= block.blurs()
    layers["conv2"] = kxk(block, block.inner, block.channels_out)
    return layers


def depthwise(block: Block) -> nn.Sequential:
    """A KxK convolution of each channel alone, then 1x1, each with a norm, nothing between (tu24, figure 4)."""
    into, layers = block.channels_in, OrderedDict[str, nn.Module]()
    layers["conv1"] = block.conv(into, into, block.stage.kernel, block.moves(block.stride), groups=into)
    layers["norm1"] = block.batch_norm(into)
    layers |= block.blurs()
    if block.stage.dropout:
        layers["dropout1"] = nn.Dropout(block.stage.dropout)
    layers["conv2"] = block.conv(into, block.channels_out, 1)
    layers["norm2"] = block.batch_norm(block.channels_out)
    return nn.Sequential(layers)


class Fire(nn.Module):
    """1x1 to the inner width (squeeze), then 1x1 and KxK side by side (expand), a norm behind each (tu24, figure 3).

    The author's code leaves the squeeze's norm out of the forward pass, although it is counted; the paper says that a
    norm follows every convolution, and so it does here. The stride is the squeeze's.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        squeeze = block.conv_norm(block.channels_in, block.inner, 1, block.moves(block.stride))
        behind = _activated(block, 1) | block.blurs()
        self.squeeze = nn.Sequential(OrderedDict([*squeeze.named_children(), *behind.items()]))
        widths = _shared(block.channels_out, block.stage.expand or (1, 1))
        kernels = (1, block.stage.kernel)
        self.expand = nn.ModuleList(
            block.conv_norm(block.inner, width, kernel)
            for width, kernel in zip(widths, kernels, strict=True)
            if width  # a block of one channel has one branch
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([branch(x) for branch in self.expand], dim=1)


def shuffle(block: Block) -> nn.Sequential:
    """1x1 in groups to the inner width, channels of the groups mixed, KxK of each channel alone, 1x1 in groups (Zhang
    et al. 2017, arXiv 1707.01083). The first block of a stage without an entry has no groups in its first 1x1."""
    inner, groups = block.inner, block.stage.groups
    first = 1 if block.is_first else groups
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=block.conv(block.channels_in, inner, 1, groups=first))
    layers["norm1"] = block.batch_norm(inner)
    layers |= _activated(block, 1)
    if groups > 1:
        layers["shuffle"] = Shuffle(groups)
    layers["conv2"] = block.conv(inner, inner, block.stage.kernel, block.moves(block.stride), groups=inner)
    layers["norm2"] = block.batch_norm(inner)
    layers |= block.blurs()
    layers["conv3"] = block.conv(inner, block.channels_out, 1, groups=groups)
    layers["norm3"] = block.batch_norm(block.channels_out)
    return nn.Sequential(layers)


def _shared(channels: int, parts: tuple[int, int]) -> tuple[int, int]:
    """Channels in two parts of a proportion, none empty where there are two channels."""
    first = max(1, min(channels - 1, round(channels * parts[0] / sum(parts))))
    return first, channels - first


BODIES: dict[str, Callable[[Block], nn.Module]] = {
    "basic": basic,
    "bottleneck": bottleneck,
    "single": single,
    "preact": preact,
    "wide": wide,
    "depthwise": depthwise,
    "fire": Fire,
    "shuffle": shuffle,
    "transformer": Transformer,
}


def last_norms(body: nn.Module) -> list[nn.BatchNorm2d]:
    """The norms that a body ends in; none where it ends otherwise."""
    if isinstance(body, nn.Sequential) and len(body):
        return last_norms(body[-1])
    if isinstance(body, Fire):
        return [norm for branch in body.expand for norm in last_norms(branch)]
    return [body] if isinstance(body, nn.BatchNorm2d) else []
