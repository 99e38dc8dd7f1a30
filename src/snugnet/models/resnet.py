"""The flexible CIFAR ResNet: stem, stages, head (architectures of all five papers)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from snugnet.models.blocks import Residual, stage_layers
from snugnet.models.initial import initialise
from snugnet.models.layers import ACTIVATIONS, SqueezeExcite, pool
from snugnet.models.parts import Head
from snugnet.models.spec import ModelSpec


class ResNet(nn.Module):
    """(N, in_channels, image_size, image_size) float to (N, classes) logits."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.stem = _stem(spec)
        places = spec.places()
        self.stages = nn.Sequential(*(stage_layers(spec, index, places) for index in range(len(spec.stages))))
        self.head = _head(spec)
        if not spec.norm.learn_scale:
            _freeze_scales(self)
        by_end = sorted(spec.skip_pairs(), key=lambda pair: pair[1])
        self._last_reader = dict(by_end)  # of each block's input that skips start from, the last block that adds it

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        kept: dict[int, Tensor] = {}  # what enters a block, until the last skip from there has run
        number = 0
        for block in self.blocks():  # flat, so that nothing but the running block holds its input
            number += isinstance(block, Residual)
            if isinstance(block, Residual) and number in self._last_reader:
                kept[number] = x
            earlier = [self._read(kept, block, number)] if isinstance(block, Residual) and block.skips else []
            x = block(x, *earlier)
        return cast(Tensor, self.head(x))

    def _read(self, kept: dict[int, Tensor], block: Residual, number: int) -> Iterator[Tensor]:
        """The maps that the skips into block `number` start from, each let go of where nothing later reads it."""
        for start in map(int, block.skips):
            yield kept.pop(start) if self._last_reader[start] == number else kept[start]

    def blocks(self) -> Iterator[nn.Module]:
        """Residual blocks, entries and pools, from stem to head."""
        for stage in self.stages:
            yield from cast(nn.Sequential, stage)


def _freeze_scales(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.weight.requires_grad_(False)


def _stem(spec: ModelSpec) -> nn.Module:
    if spec.stem == "none":
        return nn.Identity()
    stem, channels = spec.stem, spec.stem_channels
    padding = stem.kernel // 2 if stem.padding is None else stem.padding
    biased = stem.whiten or spec.conv_bias
    conv = nn.Conv2d(spec.in_channels, channels, stem.kernel, stem.stride, padding, bias=biased)
    conv.weight.requires_grad_(not stem.whiten)
    layers: list[tuple[str, nn.Module]] = [("conv", conv)]
    if not stem.whiten:
        layers.append(("norm", nn.BatchNorm2d(channels, eps=spec.norm.eps, momentum=spec.norm.momentum)))
    layers.append(("activation", ACTIVATIONS[spec.activation]()))
    if stem.pool is not None:
        layers.insert(1 if stem.pool_first else len(layers), ("pool", pool(stem.pool)))
    if stem.se is not None:
        layers.append(("se", SqueezeExcite(channels, stem.se)))
    return nn.Sequential(OrderedDict(layers))


def _head(spec: ModelSpec) -> nn.Sequential:
    features = spec.scaled(spec.stages[-1].channels) * spec.map_sizes()[-1] ** 2
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=_head_pool(spec.head), flatten=nn.Flatten())
    for number, width in enumerate(spec.head.hidden, 1):
        layers[f"hidden{number}"] = nn.Linear(features, width)
        if spec.head.norm:
            layers[f"norm{number}"] = nn.BatchNorm1d(width, eps=spec.norm.eps, momentum=spec.norm.momentum)
        layers[f"activation{number}"] = ACTIVATIONS[spec.activation]()
        features = width
    if spec.head.dropout:
        layers["dropout"] = nn.Dropout(spec.head.dropout)
    layers["classifier"] = nn.Linear(features, spec.classes)
    return nn.Sequential(layers)


def _head_pool(head: Head) -> nn.Module:
    if head.pool == "flatten":
        return nn.Identity()
    if head.kernel is not None:
        return nn.AvgPool2d(head.kernel) if head.pool == "avg" else nn.MaxPool2d(head.kernel)
    return nn.AdaptiveAvgPool2d(1) if head.pool == "avg" else nn.AdaptiveMaxPool2d(1)


def build(spec: ModelSpec) -> ResNet:
    """The network of a spec, initialised from torch's global generator. Raises RecipeError of a user's own block."""
    model = ResNet(spec)
    initialise(model, spec)
    return model


def build_meta(spec: ModelSpec) -> ResNet:
    """The network without memory or values, for counting. Raises RecipeError of a user's own block."""
    with torch.device("meta"):
        return ResNet(spec)
