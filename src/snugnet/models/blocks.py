"""Residual blocks and stages: a body, what is added to it, and the activation of the sum.

A body maps (N, c_in, H, W) to (N, c_out, H/stride, W/stride) and ends in a norm; `Residual` adds the shortcut and
applies the activation (post-activation ResNet, He et al. 2015). Pre-activation bodies do without, but for the last of
a row of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor, nn

from snugnet.models import foreign
from snugnet.models.bodies import BODIES
from snugnet.models.compact import LayerNorm, Positions
from snugnet.models.layers import (
    Block,
    BlockAttend,
    DropPath,
    EfficientAttend,
    SqueezeExcite,
    block_at,
    pool,
)
from snugnet.models.parts import Entry, Shortcut
from snugnet.models.spec import PREACT, ModelSpec, Place


def shortcut(block: Block, spec: Shortcut, *, projects: bool) -> nn.Module | None:
    """Identity, or a convolution with or without norm; None where the shortcut is removed."""
    if spec.kind == "none":
        return None
    if not projects:
        return nn.Identity()
    layers = OrderedDict[str, nn.Module](block.blurs())
    layers["conv"] = block.conv(block.channels_in, block.channels_out, spec.kernel, block.moves(block.stride))
    if spec.norm:
        layers["norm"] = block.batch_norm(block.channels_out)
    return nn.Sequential(layers) if len(layers) > 1 else layers["conv"]


class Residual(nn.Module):
    """activation(body(x) + shortcut(x) + skips of earlier maps); (N, c_in, H, W) to (N, c_out, H/stride, W/stride).

    `opening` stands in front of body and shortcut. `skips` has a layer for each earlier block, named by its number,
    whose input is added too.
    """

    def __init__(
        self,
        body: nn.Module,
        shortcut: nn.Module | None,
        activation: nn.Module,
        *,
        attention: Mapping[str, nn.Module | None] | None = None,
        drop_path: nn.Module | None = None,
        skips: Mapping[int, nn.Module] | None = None,
        opening: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.opening = opening
        self.body = body
        given = attention or {}
        self.se, self.eca, self.cbam = (given.get(name) for name in ("se", "eca", "cbam"))
        self.drop_path = drop_path
        self.shortcut = shortcut
        self.skips = nn.ModuleDict({str(start): skip for start, skip in (skips or {}).items()})
        self.activation = activation

    def forward(self, x: Tensor, earlier: Iterator[Tensor] = iter(())) -> Tensor:
        """`earlier` gives the map of each skip in turn, and may let go of it."""
        x = x if self.opening is None else self.opening(x)
        y = self.body(x)
        for attend in (self.se, self.eca, self.cbam):
            y = y if attend is None else attend(y)
        y = y if self.drop_path is None else self.drop_path(y)
        y = y if self.shortcut is None else y + self.shortcut(x)
        for skip in self.skips.values():
            y = y + skip(next(earlier))
        return self.activation(y)  # type: ignore[no-any-return]


def entry(block: Block, spec: Entry) -> nn.Sequential:
    """Convolution, pool if any, norm, activation: (N, c_in, H, W) to the width and size of the stage."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stride = block.moves(block.stride)
    layers["conv"] = block.conv(block.channels_in, block.channels_out, spec.kernel, stride)
    if spec.pool is not None:
        layers["pool"] = pool(spec.pool)
    layers["norm"] = block.batch_norm(block.channels_out)
    layers["activation"] = block.act()
    return nn.Sequential(layers | block.blurs())


def stage_layers(spec: ModelSpec, index: int, places: list[Place]) -> nn.Sequential:
    """The layers of one stage in order: its entry, its blocks, its pool."""
    stage = spec.stages[index]
    layers: list[nn.Module] = []
    if stage.entry is not None:
        channels = spec.channels(index - 1) if index else spec.stem_channels
        opened = Place(index, channels, spec.channels(index), spec.stride(index), spec.map_sizes()[index], 0)
        layers.append(entry(block_at(spec, opened), stage.entry))
    if stage.positions:
        layers.append(Positions(spec.channels(index), spec.sizes_in(index)))
    owners: dict[int, Residual] = {}
    for number, place in enumerate(places, 1):
        if place.stage == index:
            made = residual(spec, places, number)
            _share(owners.setdefault(place.block, made), made)
            layers.append(made)
    if stage.pool is not None:
        layers.append(pool(stage.pool))
    return nn.Sequential(*layers)


def residual(spec: ModelSpec, places: list[Place], number: int) -> Residual:
    """Block `number` of the net, counted from 1."""
    place = places[number - 1]
    block, stage = block_at(spec, place), spec.stages[place.stage]
    rate = spec.drop_path * (number - 1) / max(1, len(places) - 1) if stage.drop_path is None else stage.drop_path
    if stage.block == "transformer":
        return _transformer(spec, places, number, replace(block, drop_path=rate))
    return Residual(
        BODIES[stage.block](block) if stage.block in BODIES else foreign.body(stage.block, block),
        shortcut(block, stage.shortcut or spec.shortcut, projects=spec.has_projection(place)),
        nn.Identity() if _opens_the_next(spec, places, number) else _closing(block),
        attention=_attention(block),
        drop_path=DropPath(rate) if rate else None,
        skips=_skips(spec, places, block, number),
        opening=_normed(block, block.channels_in) if stage.block == "wide" and block.projects else None,
    )


def _transformer(spec: ModelSpec, places: list[Place], number: int, block: Block) -> Residual:
    """A body that adds what it makes by itself; the last of a row of them ends in a norm."""
    goes_on = number < len(places) and places[number].stage == places[number - 1].stage
    return Residual(
        BODIES["transformer"](block),
        None,
        nn.Identity() if goes_on else LayerNorm(block.channels_out),
        attention=_attention(block),
        skips=_skips(spec, places, block, number),
    )


def _normed(block: Block, channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(norm=block.batch_norm(channels), activation=block.act()))


def _closing(block: Block) -> nn.Module:
    """What the sum goes through."""
    return _normed(block, block.channels_out) if block.stage.block == "wide" else block.act()


OWN = (nn.modules.batchnorm._BatchNorm, LayerNorm)  # of each use


def _share(owner: Residual, other: Residual) -> None:
    """Gives a block the weights of another that it repeats: all but norms, whose statistics differ from use to use, and
    skips."""
    if owner is other:
        return
    for name, module in other.named_modules():
        if not name.startswith("skips") and not isinstance(module, OWN):
            for part in [part for part, own in module._parameters.items() if own is not None]:
                module.register_parameter(part, owner.get_submodule(name)._parameters[part])


def _attention(block: Block) -> dict[str, nn.Module | None]:
    stage, channels = block.stage, block.channels_out
    return {
        "se": SqueezeExcite(channels, stage.se) if stage.se else None,
        "eca": EfficientAttend(channels, stage.eca) if stage.eca else None,
        "cbam": BlockAttend(channels, stage.cbam, block.norm) if stage.cbam else None,
    }


def _skips(spec: ModelSpec, places: list[Place], block: Block, number: int) -> dict[int, nn.Module]:
    """tu24's SkipConv from the input of each earlier block that leads here."""
    return {
        start: block.conv_norm(
            places[start - 1].channels_in, block.channels_out, 1, spec.skip_stride(start, number, places)
        )
        for start, end in spec.skip_pairs()
        if end == number
    }


def _opens_the_next(spec: ModelSpec, places: list[Place], number: int) -> bool:
    """Whether a block and the layer behind it are pre-activation: that layer's own norm and activation follow."""
    own = places[number - 1].stage
    if spec.stages[own].block not in PREACT or number == len(places):
        return False
    between = spec.stages[own + 1 : places[number].stage + 1]  # none of them where the next block is of this stage
    return spec.stages[places[number].stage].block in PREACT and not any(stage.entry for stage in between)
