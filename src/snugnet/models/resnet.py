"""The flexible CIFAR ResNet: stem, stages, head (architectures of avvari24, durga25, patil25 and aswani22)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from snugnet.models.blocks import ACTIVATIONS, pool, stage_blocks
from snugnet.models.spec import Head, ModelSpec


class ResNet(nn.Module):
    """(N, in_channels, image_size, image_size) float to (N, classes) logits."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.stem = _stem(spec)
        stages, channels = [], spec.stem_channels
        for index, stage in enumerate(spec.stages):
            stages.append(stage_blocks(spec, index, channels))
            channels = spec.scaled(stage.channels)
        self.stages = nn.Sequential(*stages)
        self.head = _head(spec, channels * spec.map_sizes()[-1] ** 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks():  # flat, so that nothing but the running block holds its input
            x = block(x)
        return cast(Tensor, self.head(x))

    def blocks(self) -> Iterator[nn.Module]:
        """Residual blocks and pools, from stem to head."""
        for stage in self.stages:
            yield from cast(nn.Sequential, stage)


def _stem(spec: ModelSpec) -> nn.Sequential:
    stem, channels = spec.stem, spec.stem_channels
    padding = stem.kernel // 2 if stem.padding is None else stem.padding
    conv = nn.Conv2d(spec.in_channels, channels, stem.kernel, stem.stride, padding, bias=stem.whiten)
    conv.weight.requires_grad_(not stem.whiten)
    layers: list[tuple[str, nn.Module]] = [("conv", conv)]
    if not stem.whiten:
        layers.append(("norm", nn.BatchNorm2d(channels, eps=spec.norm.eps, momentum=spec.norm.momentum)))
    layers.append(("activation", ACTIVATIONS[spec.activation]()))
    if stem.pool is not None:
        layers.insert(1 if stem.pool_first else len(layers), ("pool", pool(stem.pool)))
    return nn.Sequential(OrderedDict(layers))


def _head(spec: ModelSpec, features: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=_head_pool(spec.head), flatten=nn.Flatten())
    for number, width in enumerate(spec.head.hidden, 1):
        layers[f"hidden{number}"] = nn.Linear(features, width)
        layers[f"activation{number}"] = ACTIVATIONS[spec.activation]()
        features = width
    if spec.head.dropout:
        layers["dropout"] = nn.Dropout(spec.head.dropout)
    layers["classifier"] = nn.Linear(features, spec.classes)
    return nn.Sequential(layers)


def _head_pool(head: Head) -> nn.Module:
    if head.kernel is not None:
        return nn.AvgPool2d(head.kernel) if head.pool == "avg" else nn.MaxPool2d(head.kernel)
    return nn.AdaptiveAvgPool2d(1) if head.pool == "avg" else nn.AdaptiveMaxPool2d(1)


def build(spec: ModelSpec) -> ResNet:
    """The network of a spec, initialised from torch's global generator."""
    model = ResNet(spec)
    if spec.init == "kaiming_fan_out":
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def build_meta(spec: ModelSpec) -> ResNet:
    """The network without memory or values, for counting."""
    with torch.device("meta"):
        return ResNet(spec)
