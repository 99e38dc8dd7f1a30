"""The flexible CIFAR ResNet: stem, stages, head (architectures of all five papers)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Self, cast

import torch
from torch import Tensor, nn

from snugnet.models.blocks import Residual, stage_layers
from snugnet.models.compact import AttentionPool
from snugnet.models.convs import Branches, factored
from snugnet.models.initial import initialise
from snugnet.models.layers import ACTIVATIONS, SqueezeExcite, pool
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
        self.shared = _shared(self)
        if self.shared:
            self.register_state_dict_post_hook(_once)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_everywhere)  # type: ignore[no-untyped-call]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, owner in self.shared.items():  # another device may have made two of one
            path, _, part = name.rpartition(".")
            self.get_submodule(path).register_parameter(part, self.get_parameter(owner))
        return self

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


def _shared(model: nn.Module) -> dict[str, str]:
    """Names of weights that stand for those of another name, which comes first."""
    first: dict[int, str] = {}
    named = model.named_parameters(remove_duplicate=False)
    owners = {name: first.setdefault(id(weight), name) for name, weight in named}
    return {name: owner for name, owner in owners.items() if name != owner}


def _once(model: nn.Module, tensors: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    """Leaves out what stands under another name."""
    for name in cast(ResNet, model).shared:
        tensors.pop(prefix + name, None)


def _everywhere(model: nn.Module, tensors: dict[str, Tensor], prefix: str, *_: object) -> None:
    for name, owner in cast(ResNet, model).shared.items():
        if prefix + owner in tensors:
            tensors.setdefault(prefix + name, tensors[prefix + owner])


def _stem(spec: ModelSpec) -> nn.Module:
    if spec.stem == "none":
        return nn.Identity()
    stem, channels = spec.stem, spec.stem_channels
    padding = stem.kernel // 2 if stem.padding is None else stem.padding
    shape = spec.in_channels, channels, stem.kernel, stem.stride, padding
    norm = partial(nn.BatchNorm2d, eps=spec.norm.eps, momentum=spec.norm.momentum)
    conv: nn.Module
    if stem.conv is None:
        conv = nn.Conv2d(*shape, bias=stem.whiten or spec.conv_bias)
        conv.weight.requires_grad_(not stem.whiten)
    else:
        conv = factored(stem.conv, *shape, norm, bias=spec.conv_bias)
    layers: list[tuple[str, nn.Module]] = [("conv", conv)]
    if not stem.bare:
        layers += [] if stem.whiten else [("norm", norm(channels))]
        layers.append(("activation", ACTIVATIONS[spec.activation]()))
    if stem.pool is not None:
        layers.insert(1 if stem.pool_first else len(layers), ("pool", pool(stem.pool)))
    if stem.se is not None:
        layers.append(("se", SqueezeExcite(channels, stem.se)))
    if stem.norm_input:
        layers.insert(0, ("norm_input", norm(spec.in_channels)))
    return nn.Sequential(OrderedDict(layers))


def _head(spec: ModelSpec) -> nn.Sequential:
    features = spec.channels(-1) * spec.map_sizes()[-1] ** 2
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=_head_pool(spec), flatten=nn.Flatten())
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


def _head_pool(spec: ModelSpec) -> nn.Module:
    head = spec.head
    if head.pool == "attention":
        return AttentionPool(spec.channels(-1))
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


@torch.no_grad()
def merged(model: nn.Module, spec: ModelSpec) -> ResNet:
    """A trained net of a spec as it ships: branches of convolutions are one, which computes the same in evaluation."""
    shipped = build_meta(spec.shipped).to_empty(device="cpu")
    tensors = {name: value.cpu() for name, value in model.state_dict().items()}
    for path, module in model.named_modules():
        if isinstance(module, Branches):
            weight, bias = module.merged()
            tensors |= {f"{path}.weight": weight.cpu(), f"{path}.bias": bias.cpu()}
    shipped.load_state_dict({name: tensors[name] for name in shipped.state_dict()})
    return shipped.eval()


def build_meta(spec: ModelSpec) -> ResNet:
    """The network without memory or values, for counting. Raises RecipeError of a user's own block."""
    with torch.device("meta"):
        return ResNet(spec)
