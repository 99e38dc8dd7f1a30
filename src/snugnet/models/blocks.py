"""Residual blocks and stages: a body, what is added to it, and the activation of the sum.

A body maps (N, c_in, H, W) to (N, c_out, H/stride, W/stride) and ends in a norm; `Residual` adds the shortcut and
applies the activation (post-activation ResNet, He et al. 2015). Pre-activation bodies do without, but for the last of
a row of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from snugnet.models import foreign
from snugnet.models.bodies import BODIES
from snugnet.models.layers import Block, DropPath, SqueezeExcite, block_at, pool
from snugnet.models.parts import Entry, Shortcut
from snugnet.models.spec import ModelSpec, Place


def shortcut(block: Block, spec: Shortcut, *, projects: bool) -> nn.Module | None:
    """Identity, or a convolution with or without norm; None where the shortcut is removed."""
    if spec.kind == "none":
        return None
    if not projects:
        return nn.Identity()
    if spec.norm:
        return block.conv_norm(block.channels_in, block.channels_out, spec.kernel, block.stride)
    return block.conv(block.channels_in, block.channels_out, spec.kernel, block.stride)


class Residual(nn.Module):
    """activation(body(x) + shortcut(x) + skips of earlier maps); (N, c_in, H, W) to (N, c_out, H/stride, W/stride).

    `skips` has a layer for each earlier block, named by its number, whose input is added too.
    """

    def __init__(
        self,
        body: nn.Module,
        shortcut: nn.Module | None,
        activation: nn.Module,
        *,
        se: nn.Module | None = None,
        drop_path: nn.Module | None = None,
        skips: Mapping[int, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.se = se
        self.drop_path = drop_path
        self.shortcut = shortcut
        self.skips = nn.ModuleDict({str(start): skip for start, skip in (skips or {}).items()})
        self.activation = activation

    def forward(self, x: Tensor, earlier: Iterator[Tensor] = iter(())) -> Tensor:
        """`earlier` gives the map of each skip in turn, and may let go of it."""
        y = self.body(x)
        y = y if self.se is None else self.se(y)
        y = y if self.drop_path is None else self.drop_path(y)
        y = y if self.shortcut is None else y + self.shortcut(x)
        for skip in self.skips.values():
            y = y + skip(next(earlier))
        return self.activation(y)  # type: ignore[no-any-return]


def entry(block: Block, spec: Entry) -> nn.Sequential:
    """Convolution, pool if any, norm, activation: (N, c_in, H, W) to the width and size of the stage."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = block.conv(block.channels_in, block.channels_out, spec.kernel, block.stride)
    if spec.pool is not None:
        layers["pool"] = pool(spec.pool)
    layers["norm"] = block.batch_norm(block.channels_out)
    layers["activation"] = block.act()
    return nn.Sequential(layers)


def stage_layers(spec: ModelSpec, index: int, places: list[Place]) -> nn.Sequential:
    """The layers of one stage in order: its entry, its blocks, its pool."""
    stage = spec.stages[index]
    layers: list[nn.Module] = []
    if stage.entry is not None:
        channels = spec.scaled(spec.stages[index - 1].channels) if index else spec.stem_channels
        opened = Place(index, channels, spec.scaled(stage.channels), spec.stride(index), spec.map_sizes()[index], 0)
        layers.append(entry(block_at(spec, opened), stage.entry))
    numbered = enumerate(places, 1)
    layers += [residual(spec, places, number) for number, place in numbered if place.stage == index]
    if stage.pool is not None:
        layers.append(pool(stage.pool))
    return nn.Sequential(*layers)


def residual(spec: ModelSpec, places: list[Place], number: int) -> Residual:
    """Block `number` of the net, counted from 1."""
    place = places[number - 1]
    block, stage = block_at(spec, place), spec.stages[place.stage]
    rate = spec.drop_path * (number - 1) / max(1, len(places) - 1) if stage.drop_path is None else stage.drop_path
    return Residual(
        BODIES[stage.block](block) if stage.block in BODIES else foreign.body(stage.block, block),
        shortcut(block, stage.shortcut or spec.shortcut, projects=spec.has_projection(place)),
        nn.Identity() if _opens_the_next(spec, places, number) else block.act(),
        se=SqueezeExcite(place.channels_out, stage.se) if stage.se else None,
        drop_path=DropPath(rate) if rate else None,
        skips=_skips(spec, places, block, number),
    )


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
    if spec.stages[own].block != "preact" or number == len(places):
        return False
    between = spec.stages[own + 1 : places[number].stage + 1]  # none of them where the next block is of this stage
    return spec.stages[places[number].stage].block == "preact" and not any(stage.entry for stage in between)
