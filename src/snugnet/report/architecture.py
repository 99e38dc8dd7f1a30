"""What a diagram of a net shows, in words: its parts from image to classes, each a list of boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from snugnet.models.parts import Pool, Shortcut, SqueezeExcitation, Stem
from snugnet.models.spec import ModelSpec, Place, Stage

Kind = Literal["layer", "pool", "block"]


@dataclass(frozen=True)
class Box:
    """A layer, a pool, or a residual block with a line for each convolution; `times` equal blocks in a row share one.

    `shortcut` is that of a block: "identity", the kernel of its convolution as "1×1", or "" where there is none.
    """

    kind: Kind
    lines: tuple[str, ...]
    times: int = 1
    shortcut: str = ""
    number: int = 0  # of a block, counted from 1 over the whole net


@dataclass(frozen=True)
class Part:
    """The stem, a stage or the head: its name, the shape of what leaves it, and further facts."""

    name: str
    shape: str
    boxes: tuple[Box, ...]
    note: str = ""


def parts(spec: ModelSpec) -> list[Part]:
    """From stem to head."""
    sizes, places = spec.map_sizes(), spec.places()
    found = [] if spec.stem == "none" else [_stem(spec, spec.stem, sizes[0])]
    for index, stage in enumerate(spec.stages):
        shape = _shape(spec.channels(index), sizes[index + 1])
        boxes = [*_entry(spec, index), *_blocks(spec, index, places), *_pools(stage.pool)]
        found.append(Part(f"Stage {index + 1}", shape, tuple(boxes), _note(spec, stage)))
    return [*found, _head(spec)]


def words(spec: ModelSpec) -> str:
    """The diagram for those who cannot see it."""
    told = [f"{part.name}: {', '.join(map(_told, part.boxes))}, to {part.shape}" for part in parts(spec)]
    skips = f"; {len(spec.skip_pairs())} skips past blocks" if spec.skip_pairs() else ""
    return f"Architecture. Image {image_shape(spec)}; {'; '.join(told)}{skips}"


def image_shape(spec: ModelSpec) -> str:
    return _shape(spec.in_channels, spec.image_size)


def _told(box: Box) -> str:
    block = "block of " if box.kind == "block" else ""
    return f"{box.times} × {block}{' then '.join(box.lines)}" if box.times > 1 else block + " then ".join(box.lines)


def _shape(channels: int, side: int) -> str:
    return f"{channels} × {side} × {side}"


def _conv(kernel: int, channels: int, stride: int = 1, kind: str = "") -> str:
    """As the papers write it: "3×3, 64, /2"."""
    return f"{kernel}×{kernel}{kind}, {channels}" + (f", /{stride}" if stride > 1 else "")


def _pools(pool: Pool | None) -> list[Box]:
    if pool is None:
        return []
    stride = pool.stride or pool.kernel
    kind = "max" if pool.kind == "max" else "average"
    return [Box("pool", (f"{kind} pool {pool.kernel}×{pool.kernel}" + (f", /{stride}" if stride > 1 else ""),))]


def _stem(spec: ModelSpec, stem: Stem, side: int) -> Part:
    kind = " whitening" if stem.whiten else ""
    conv = Box("layer", (_conv(stem.kernel, spec.stem_channels, stem.stride, kind),))
    se = [Box("layer", (_se(stem.se, spec.stem_channels),))] if stem.se else []
    note = "filters set from the data, frozen" if stem.whiten else ""
    return Part("Stem", _shape(spec.stem_channels, side), (conv, *_pools(stem.pool), *se), note)


def _entry(spec: ModelSpec, index: int) -> list[Box]:
    stage = spec.stages[index]
    if stage.entry is None:
        return []
    conv = _conv(stage.entry.kernel, spec.channels(index), spec.stride(index))
    return [Box("layer", (conv,)), *_pools(stage.entry.pool)]


def _blocks(spec: ModelSpec, index: int, places: list[Place]) -> list[Box]:
    """The blocks of a stage; equal ones in a row are one box, but for those that a skip begins or ends at."""
    touched = {number for pair in spec.skip_pairs() for number in pair}
    boxes: list[Box] = []
    for number, place in enumerate(places, 1):
        if place.stage != index:
            continue
        box = Box("block", _lines(spec, place), 1, _shortcut(spec, place), number)
        last = boxes[-1] if boxes else None
        alike = last and (last.lines, last.shortcut) == (box.lines, box.shortcut)
        if last and alike and not touched & {number, last.number}:
            boxes[-1] = Box("block", last.lines, last.times + 1, last.shortcut, last.number)
        else:
            boxes.append(box)
    return boxes


def _shortcut(spec: ModelSpec, place: Place) -> str:
    if spec.stages[place.stage].block == "transformer":
        return "identity"
    own: Shortcut = spec.stages[place.stage].shortcut or spec.shortcut
    if own.kind == "none":
        return ""
    return f"{own.kernel}×{own.kernel}" if spec.has_projection(place) else "identity"


def _lines(spec: ModelSpec, place: Place) -> tuple[str, ...]:
    """A line for each convolution of a block."""
    stage, out, stride = spec.stages[place.stage], place.channels_out, place.stride
    kernel, inner = stage.kernel, spec.inner(place)
    lines = {
        "basic": (_conv(kernel, inner, stride), _conv(kernel, out)),
        "preact": (_conv(kernel, inner, stride), _conv(kernel, out)),
        "wide": (_conv(kernel, inner, stride), _conv(kernel, out)),
        "single": (_conv(kernel, out, stride),),
        "bottleneck": (_conv(1, inner), _conv(kernel, inner, stride), _conv(1, out)),
        "depthwise": (_conv(kernel, place.channels_in, stride, " each channel"), _conv(1, out)),
        "transformer": (f"attention, {stage.heads} heads", _conv(1, inner), _conv(1, out)),
        "shuffle": (_conv(1, inner), _conv(kernel, inner, stride, " each channel"), _conv(1, out)),
        "fire": (_conv(1, inner, stride), f"1×1 beside {kernel}×{kernel}, {out}"),
    }.get(stage.block, (f"{stage.block.rpartition(':')[2]}, {out}" + (f", /{stride}" if stride > 1 else ""),))
    attention = [_se(stage.se, out)] if stage.se else []
    attention += [f"channel attention, {stage.eca.neighbours(out)}"] if stage.eca else []
    attention += [f"block attention, {stage.cbam.kernel}×{stage.cbam.kernel}"] if stage.cbam else []
    return (*lines, *attention)


def _se(se: SqueezeExcitation, channels: int) -> str:
    return f"squeeze-excite, {se.width(channels)}" if se.inner else f"squeeze-excite, /{se.reduction}"


def _note(spec: ModelSpec, stage: Stage) -> str:
    drop_path = spec.drop_path if stage.drop_path is None else stage.drop_path
    facts = [stage.block.rpartition(":")[2] if stage.blocks else ""]
    facts += [stage.conv.kind] if stage.conv else []
    facts += [f"{stage.groups} groups"] if stage.groups > 1 else []
    facts += (
        [f"each {stage.repeat} times" if not stage.opens else f"all but the first {stage.repeat} times"]
        if stage.repeat > 1
        else []
    )
    facts += [f"dropout {stage.dropout:g}"] if stage.dropout else []
    facts += [f"drop path {'' if stage.drop_path is not None else 'to '}{drop_path:g}"] if drop_path else []
    return ", ".join(fact for fact in facts if fact)


def _head(spec: ModelSpec) -> Part:
    head, side = spec.head, spec.map_sizes()[-1]
    values = spec.channels(-1) * side**2
    kind = "max" if head.pool == "max" else "average"
    if head.pool == "attention":
        first = Box("pool", (f"attention pool, {values:,}",))
    elif head.pool == "flatten":
        first = Box("layer", (f"flatten, {values:,}",))
    elif head.kernel is not None:
        first = Box("pool", (f"{kind} pool {head.kernel}×{head.kernel}, flatten, {values:,}",))
    else:
        first = Box("pool", (f"global {kind} pool, {values:,}",))
    hidden = [Box("layer", (f"linear, {width:,}",)) for width in head.hidden]
    note = f"dropout {head.dropout:g}" if head.dropout else ""
    return Part(
        "Head", f"{spec.classes:,} classes", (first, *hidden, Box("layer", (f"linear, {spec.classes:,}",))), note
    )
