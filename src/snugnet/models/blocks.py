"""Bodies of residual blocks and the pieces they are made of.

A body maps (N, c_in, H, W) to (N, c_out, H/stride, W/stride) and ends in a norm; `Residual` adds the shortcut and
applies the activation (post-activation ResNet, He et al. 2015).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from snugnet.models.spec import Entry, ModelSpec, Norm, Pool, Shortcut, Stage

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),  # safe: batch norm keeps its input for backward, not its output
    "gelu": nn.GELU,
    "silu": lambda: nn.SiLU(inplace=False),
    "hardswish": nn.Hardswish,
    "leaky_relu": lambda: nn.LeakyReLU(0.1, inplace=True),
}


@dataclass(frozen=True)
class Block:
    """What a body is built from."""

    channels_in: int
    channels_out: int
    stride: int
    stage: Stage
    norm: Norm
    activation: str

    def conv(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)

    def batch_norm(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=self.norm.eps, momentum=self.norm.momentum)


def _layers(block: Block, *convs: nn.Conv2d) -> nn.Sequential:
    """conv, norm, activation, dropout; conv, norm, ...: no activation after the last norm."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, conv in enumerate(convs, 1):
        layers[f"conv{number}"] = conv
        layers[f"norm{number}"] = block.batch_norm(conv.out_channels)
        if number < len(convs):
            layers[f"activation{number}"] = ACTIVATIONS[block.activation]()
            if block.stage.dropout:
                layers[f"dropout{number}"] = nn.Dropout(block.stage.dropout)
    return nn.Sequential(layers)


def basic(block: Block) -> nn.Sequential:
    """Two KxK convolutions; the first has the stride."""
    kernel, out = block.stage.kernel, block.channels_out
    return _layers(
        block,
        block.conv(block.channels_in, out, kernel, block.stride),
        block.conv(out, out, kernel),
    )


def bottleneck(block: Block) -> nn.Sequential:
    """1x1 to channels / reduction, KxK with the stride, 1x1 to channels (aswani22: `channels` is the output's)."""
    inner = max(1, block.channels_out // block.stage.reduction)
    return _layers(
        block,
        block.conv(block.channels_in, inner, 1),
        block.conv(inner, inner, block.stage.kernel, block.stride),
        block.conv(inner, block.channels_out, 1),
    )


def single(block: Block) -> nn.Sequential:
    """One KxK convolution: the cheapest residual block (the lean ResNets of the speed records)."""
    return _layers(block, block.conv(block.channels_in, block.channels_out, block.stage.kernel, block.stride))


BODIES: dict[str, Callable[[Block], nn.Module]] = {"basic": basic, "bottleneck": bottleneck, "single": single}


def shortcut(block: Block, spec: Shortcut) -> nn.Module | None:
    """Identity where shapes agree, else a convolution with or without norm; None where the shortcut is removed."""
    if spec.kind == "none":
        return None
    if block.stride == 1 and block.channels_in == block.channels_out:
        return nn.Identity()
    conv = block.conv(block.channels_in, block.channels_out, spec.kernel, block.stride)
    return nn.Sequential(OrderedDict(conv=conv, norm=block.batch_norm(block.channels_out))) if spec.norm else conv


def pool(spec: Pool) -> nn.Module:
    kind = nn.MaxPool2d if spec.kind == "max" else nn.AvgPool2d
    return kind(spec.kernel, spec.stride, spec.padding)


class Residual(nn.Module):
    """activation(body(x) + shortcut(x)); (N, c_in, H, W) to (N, c_out, H/stride, W/stride)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None, activation: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.activation(y if self.shortcut is None else y + self.shortcut(x))  # type: ignore[no-any-return]


def entry(block: Block, spec: Entry) -> nn.Sequential:
    """Convolution, pool if any, norm, activation: (N, c_in, H, W) to the width and size of the stage."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = block.conv(block.channels_in, block.channels_out, spec.kernel, block.stride)
    if spec.pool is not None:
        layers["pool"] = pool(spec.pool)
    layers["norm"] = block.batch_norm(block.channels_out)
    layers["activation"] = ACTIVATIONS[block.activation]()
    return nn.Sequential(layers)


def stage_blocks(spec: ModelSpec, index: int, channels_in: int) -> nn.Sequential:
    """The layers of one stage in order: its entry, its blocks, its pool."""
    stage, stride = spec.stages[index], spec.stride(index)
    channels = spec.scaled(stage.channels)
    layers: list[nn.Module] = []
    if stage.entry is not None:
        layers.append(entry(Block(channels_in, channels, stride, stage, spec.norm, spec.activation), stage.entry))
        channels_in, stride = channels, 1
    for _ in range(stage.blocks):
        block = Block(channels_in, channels, stride, stage, spec.norm, spec.activation)
        layers.append(
            Residual(
                BODIES[stage.block](block),
                shortcut(block, stage.shortcut or spec.shortcut),
                ACTIVATIONS[spec.activation](),
            )
        )
        channels_in, stride = channels, 1
    if stage.pool is not None:
        layers.append(pool(stage.pool))
    return nn.Sequential(*layers)
