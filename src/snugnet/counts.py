"""What a design costs, in closed form: no module is built. The widths may be arrays, a design each.

`budget.price` builds the net and counts what is there; here the same numbers come from the specification by
arithmetic, so that millions of designs can be priced. tests/test_counts.py holds one against the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import Any, Literal

import numpy as np
import torch

from snugnet import artifact
from snugnet.artifact import Card
from snugnet.config import Frozen
from snugnet.errors import RecipeError
from snugnet.models.spec import ModelSpec, Stage

Number = Any  # an int, or an int64 array with one for each design

IN_PLACE = ("relu", "leaky_relu")  # activations that make no new map
STATISTICS = ("weight", "bias", "running_mean", "running_var")
FLOAT, INDEX, COUNTER = 4, 8, 8  # bytes of a weight, of a maximum's place, and of a norm's count of batches
# Convolutions on the way through a block.
DEPTH = {"basic": 2, "bottleneck": 3, "single": 1, "preact": 2, "depthwise": 2, "fire": 2}
BLOCKS = tuple(DEPTH)
# The keys that these forms know.
STAGE = (
    "block", "blocks", "channels", "stride", "entry", "kernel", "dropout", "reduction", "inner", "drop_path",
    "shortcut", "pool",
)  # fmt: skip
STEM = ("channels", "kernel", "stride", "padding", "pool", "pool_first", "whiten")
ADDED = ("params", "macs", "statistics", "counters", "tensors", "text")


@dataclass(frozen=True)
class Layer:
    """A layer with weights: its name in the module tree, the shape of its weight, the side of the map that it makes.

    `present` is 0 for designs without it: a shortcut is a convolution only where widths differ.
    """

    name: str
    kind: Literal["conv", "norm", "linear"]
    shape: tuple[Number, ...]
    side: int = 1
    bias: bool = False
    present: Number = 1

    @property
    def params(self) -> Number:
        own = 2 * self.shape[0] if self.kind == "norm" else prod(self.shape) + self.bias * self.shape[0]
        return own * self.present

    @property
    def macs(self) -> Number:
        return 0 if self.kind == "norm" else prod(self.shape) * self.side**2 * self.present

    @property
    def statistics(self) -> Number:
        """Numbers that are shipped but are no parameters."""
        return 2 * self.shape[0] * self.present if self.kind == "norm" else 0

    @property
    def counters(self) -> Number:
        return self.present if self.kind == "norm" else 0

    def tensors(self) -> list[tuple[str, tuple[Number, ...]]]:
        """Name and shape of what the shipped file holds of it."""
        if self.kind == "norm":
            return [(f"{self.name}.{each}", self.shape) for each in STATISTICS]
        biases = [(f"{self.name}.bias", self.shape[:1])] if self.bias else []
        return [(f"{self.name}.weight", self.shape), *biases]


@dataclass(frozen=True)
class Sums:
    """What layers cost together. `peak` is in bytes and the largest of its parts, the rest are sums.

    `tensors` and `text` say how long the header of a file is but for its offsets: how many tensors, and their letters.
    """

    params: Number = 0
    macs: Number = 0
    statistics: Number = 0
    counters: Number = 0
    tensors: Number = 0
    text: Number = 0
    peak: Number = 0
    layers: tuple[Layer, ...] = ()

    def __add__(self, other: Sums) -> Sums:
        added = {name: getattr(self, name) + getattr(other, name) for name in ADDED}
        return Sums(**added, peak=np.maximum(self.peak, other.peak), layers=self.layers + other.layers)

    def __mul__(self, times: Number) -> Sums:
        """So many of them, their layers not told apart."""
        return Sums(**{name: getattr(self, name) * times for name in ADDED}, peak=self.peak)

    @property
    def data_bytes(self) -> Number:
        """Of the weights in a float32 file, without its header."""
        return FLOAT * (self.params + self.statistics)

    @property
    def size_mb(self) -> Number:
        return (self.data_bytes + COUNTER * self.counters) / 2**20


def summed(layers: Iterable[Layer], peak: Number = 0, header: bool = False) -> Sums:
    """`header`: how long the header of their file is, too, which takes longer than all the rest."""

    def one(layer: Layer) -> Sums:
        if not header:
            return Sums(layer.params, layer.macs, layer.statistics, layer.counters, 0, 0, 0, (layer,))
        named = layer.tensors()
        text = sum(_text(name, shape) for name, shape in named) * layer.present
        count = len(named) * layer.present
        return Sums(layer.params, layer.macs, layer.statistics, layer.counters, count, text, 0, (layer,))

    return reduce(Sums.__add__, map(one, layers), Sums(peak=peak))


def _text(name: str, shape: tuple[Number, ...]) -> Number:
    """Letters of a tensor's entry in the header, the comma before it too, but for the digits of its offsets."""
    empty = json.dumps({name: {"dtype": "F32", "shape": [], "data_offsets": []}}, separators=(",", ":"))
    return len(empty) - 2 + 1 + sum(map(digits, shape)) + len(shape) - 1 + 1  # {} away, commas between numbers


def file_bytes(card: Card, sums: Sums) -> int:
    """Of the float32 file of a card, whose layers were summed one by one, exactly."""
    tensors = [each for layer in sums.layers if layer.present for each in layer.tensors()]
    return artifact.size_of(card, {name: (torch.float32, tuple(map(int, shape))) for name, shape in tensors})


def digits(number: Number) -> Number:
    """How many decimal digits a number of at most 10^12 has."""
    return 1 + sum(number >= 10**power for power in range(1, 13))


def _blurs(given: Any) -> bool:
    """Whether a pool, or an entry with one, has a filter of its own."""
    return isinstance(given, dict) and ("blur" in given or _blurs(given.get("pool")))


def unknown(spec: ModelSpec) -> str | None:
    """Which part of a specification these forms do not know; None where they know all."""
    if spec.skips:
        return "skips"
    if spec.head.pool == "attention":
        return "head.pool"
    parts: list[tuple[str, Frozen]] = [(f"stages.{index}", stage) for index, stage in enumerate(spec.stages)]
    parts += [] if spec.stem == "none" else [("stem", spec.stem)]
    for place, part in parts:
        if isinstance(part, Stage) and part.block not in BLOCKS:
            return f"{place}.block"
        known = STAGE if isinstance(part, Stage) else STEM
        given = part.plain(exclude_defaults=True)
        inner = {name for name in ("pool", "entry") if _blurs(given.get(name))}
        inner |= {"inner"} if isinstance(given.get("inner"), (list, tuple)) else set()
        for name in given:
            if name not in known or name in inner:
                return f"{place}.{name}"
    return None


class Forms:
    """The closed forms of one specification's layers; its own widths are left out where others are given.

    Raises RecipeError for a specification with parts that they do not know.
    """

    def __init__(self, spec: ModelSpec, header: bool = False) -> None:
        part = unknown(spec)
        if part:
            raise RecipeError(f"model.{part}: it has no closed form of its cost; leave it out, or price the net built")
        self.spec, self.header = spec, header
        self.sizes = spec.map_sizes()
        self.image = FLOAT * spec.in_channels * spec.image_size**2
        self.in_place = spec.activation in IN_PLACE

    def whole(self) -> Sums:
        """Of the specification as it is."""
        widths = [self.spec.scaled(stage.channels) for stage in self.spec.stages]
        before = [self.spec.stem_channels, *widths]
        parts = [self.stem(self.spec.stem_channels), self.head(widths[-1])]
        for index, stage in enumerate(self.spec.stages):
            opening, *blocks = self.stage(index, stage.block, before[index], widths[index], stage.blocks)
            parts += [opening, *blocks]
        return reduce(Sums.__add__, parts)

    def stem(self, channels: Number) -> Sums:
        if self.spec.stem == "none":
            return Sums(peak=self.image)
        stem = self.spec.stem
        padding = stem.kernel // 2 if stem.padding is None else stem.padding
        side = (self.spec.image_size + 2 * padding - stem.kernel) // stem.stride + 1
        shape = (channels, self.spec.in_channels, stem.kernel, stem.kernel)
        layers = [Layer("stem.conv", "conv", shape, side, bias=stem.whiten or self.spec.conv_bias)]
        layers += [] if stem.whiten else [Layer("stem.norm", "norm", (channels,))]
        chain = _Chain(self.image).makes(channels, side)
        if stem.pool and stem.pool_first:
            chain.pools(channels, self.sizes[0], stem.pool.kind)
        if not stem.whiten:
            chain.makes(channels, self.sizes[0] if stem.pool_first else side)
        chain.activates(self.in_place)
        if stem.pool and not stem.pool_first:
            chain.pools(channels, self.sizes[0], stem.pool.kind)
        return summed(layers, chain.peak, self.header)

    def stage(self, index: int, block: str, into: Number, out: Number, blocks: int) -> list[Sums]:
        """What opens a stage (its entry; its pool at the end too), and each of its blocks."""
        stage, size, stride = self.spec.stages[index], self.sizes[index], self.spec.stride(index)
        stage = stage if stage.block == block else stage.model_copy(update={"block": block})
        held = self._held(index, into, size)
        layers, peak, number = [], held, 0
        if stage.entry is not None:
            kernel = stage.entry.kernel
            conv_side = (size - 1) // stride + 1
            after = stage.entry.size_after(size, stride)
            name = f"stages.{index}.0"
            layers = [Layer(f"{name}.conv", "conv", (out, into, kernel, kernel), conv_side, bias=self.spec.conv_bias)]
            layers += [Layer(f"{name}.norm", "norm", (out,))]
            chain = _Chain(held).makes(out, conv_side)
            if stage.entry.pool:
                chain.pools(out, after, stage.entry.pool.kind)
            peak = chain.makes(out, after).activates(self.in_place).peak
            into, size, stride, number = out, after, 1, 1
        found = []
        for each in range(number, number + blocks):
            found.append(self._block(stage, index, each, into, out, stride, size))
            into, size, stride = out, (size - 1) // stride + 1, 1
        if stage.pool:
            last = _Chain(self.image + self._bytes(out, size))
            peak = np.maximum(peak, last.pools(out, self.sizes[index + 1], stage.pool.kind).peak)
        return [summed(layers, peak, self.header), *found]

    def head(self, width: Number) -> Sums:
        head, side, layers = self.spec.head, self.sizes[-1], []
        features = width * side**2
        chain = _Chain(self._held(len(self.spec.stages), width, self.sizes[-2]))
        if head.pool != "flatten":
            chain.pools(width, side, head.pool)
        for number, hidden in enumerate(head.hidden, 1):
            layers.append(Layer(f"head.hidden{number}", "linear", (hidden, features), bias=True))
            layers += [Layer(f"head.norm{number}", "norm", (hidden,))] if head.norm else []
            chain.makes(hidden, 1)
            if head.norm:
                chain.makes(hidden, 1)
            chain.activates(self.in_place)
            features = hidden
        layers.append(Layer("head.classifier", "linear", (self.spec.classes, features), bias=True))
        return summed(layers, chain.makes(self.spec.classes, 1).peak, self.header)

    def _held(self, index: int, channels: Number, side: int) -> Number:
        """Bytes of the image and of the map that a stage reads, which may be the image."""
        return self.image if index == 0 and self.spec.stem == "none" else self.image + self._bytes(channels, side)

    def _bytes(self, channels: Number, side: int) -> Number:
        return FLOAT * channels * side**2

    def _block(self, stage: Stage, index: int, number: int, into: Number, out: Number, stride: int, size: int) -> Sums:
        name, side = f"stages.{index}.{number}", (size - 1) // stride + 1
        opens = number == (stage.entry is not None)
        held = self._held(index + number, into, size)
        chain = _Chain(held)
        inner = self._inner(stage, out)
        layers = self._body(stage, f"{name}.body", chain, into, inner, out, stride, size)
        shortcut = stage.shortcut or self.spec.shortcut
        if shortcut.kind == "none":
            return summed(layers, chain.activates(self.in_place).peak, self.header)
        differs: Number = 1 if stride > 1 else 0 if into is out else (into != out) * 1
        projects = {"always": 1, "first": int(opens)}.get(shortcut.kind, differs)
        if isinstance(projects, int) and not projects:
            return summed(layers, chain.adds(0).activates(self.in_place).peak, self.header)
        given = (out, into, shortcut.kernel, shortcut.kernel)
        conv = f"{name}.shortcut.conv" if shortcut.norm else f"{name}.shortcut"
        layers.append(Layer(conv, "conv", given, side, bias=self.spec.conv_bias, present=projects))
        beside = _Chain(held + self._bytes(out, side)).makes(out, side)
        if shortcut.norm:
            layers.append(Layer(f"{name}.shortcut.norm", "norm", (out,), present=projects))
            beside.makes(out, side)
        plain = _Chain(held, chain.last, chain.peak).adds(0).activates(self.in_place).peak
        chain.adds(self._bytes(out, side)).activates(self.in_place)
        peak = np.maximum(np.where(np.asarray(projects), np.maximum(chain.peak, beside.peak), plain), plain)
        return summed(layers, peak, self.header)

    def _inner(self, stage: Stage, out: Number) -> Number:
        if stage.inner is not None and stage.block in ("basic", "bottleneck", "preact", "fire"):
            return self.spec.scaled(int(stage.inner))  # type: ignore[arg-type]  # a tuple is unknown to these forms
        return out if stage.block in ("basic", "preact") else np.maximum(1, out // stage.reduction)

    def _body(
        self, stage: Stage, name: str, chain: _Chain, into: Number, inner: Number, out: Number, stride: int, size: int
    ) -> list[Layer]:
        """The layers of a body; `chain` follows what it makes."""
        kernel, side, layers = stage.kernel, (size - 1) // stride + 1, list[Layer]()

        def conv(at: str, taken: Number, made: Number, kernel: int, side: int) -> None:
            layers.append(Layer(f"{name}.{at}", "conv", (made, taken, kernel, kernel), side, self.spec.conv_bias))
            chain.makes(made, side)

        def norm(at: str, channels: Number, side: int) -> None:
            layers.append(Layer(f"{name}.{at}", "norm", (channels,)))
            chain.makes(channels, side)

        if stage.block == "preact":
            norm("norm1", into, size)
            chain.activates(self.in_place)
            conv("conv1", into, inner, kernel, side)
            norm("norm2", inner, side)
            chain.activates(self.in_place)
            conv("conv2", inner, out, kernel, side)
        elif stage.block == "depthwise":
            layers.append(Layer(f"{name}.conv1", "conv", (into, 1, kernel, kernel), side, self.spec.conv_bias))
            chain.makes(into, side)
            norm("norm1", into, side)
            conv("conv2", into, out, 1, side)
            norm("norm2", out, side)
        elif stage.block == "fire":
            conv("squeeze.conv", into, inner, 1, side)
            norm("squeeze.norm", inner, side)
            chain.activates(self.in_place)
            squeezed = chain.last
            first = np.maximum(1, np.minimum(out - 1, np.rint(out / 2).astype(int)))
            branches: list[Number] = [first, out - first]
            for branch, (width, own) in enumerate(zip(branches, (1, kernel), strict=True)):
                chain.keeps(squeezed if branch == 0 else self._bytes(branches[0], side))
                conv(f"expand.{branch}.conv", inner, width, own, side)
                norm(f"expand.{branch}.norm", width, side)
            layers[-2:] = [replace(layer, present=(out > 1) * 1) for layer in layers[-2:]]  # of one channel: no second
            chain.joins(out, side, squeezed + self._bytes(branches[0], side))
        else:
            widths = {"basic": (inner, out), "bottleneck": (inner, inner, out), "single": (out,)}[stage.block]
            kernels = {"basic": (kernel, kernel), "bottleneck": (1, kernel, 1), "single": (kernel,)}[stage.block]
            strided = 1 if stage.block == "bottleneck" else 0
            taken = into
            for place, (made, own) in enumerate(zip(widths, kernels, strict=True)):
                at = size if place < strided else side
                conv(f"conv{place + 1}", taken, made, own, at)
                norm(f"norm{place + 1}", made, at)
                if place < len(widths) - 1:
                    chain.activates(self.in_place)
                taken = made
        return layers


class _Chain:
    """Maps made one from another in inference: `held` stays, beside it the last one, and `peak` is the most bytes."""

    def __init__(self, held: Number, last: Number = 0, peak: Number = 0) -> None:
        self.held, self.last, self.peak = held, last, np.maximum(held, peak)

    def _take(self, size: Number, beside: Number = 0) -> _Chain:
        self.peak = np.maximum(self.peak, self.held + self.last + size + beside)
        self.last = size
        return self

    def makes(self, channels: Number, side: int) -> _Chain:
        return self._take(FLOAT * channels * side**2)

    def pools(self, channels: Number, side: int, kind: str) -> _Chain:
        places = INDEX * channels * side**2 if kind == "max" else 0
        return self._take(FLOAT * channels * side**2, places)

    def activates(self, in_place: bool) -> _Chain:
        return self if in_place else self._take(self.last)

    def adds(self, other: Number) -> _Chain:
        return self._take(self.last, other)

    def keeps(self, size: Number) -> None:
        """From here on `size` bytes stay that came before."""
        self.held, self.last = self.held + size, 0

    def joins(self, channels: Number, side: int, kept: Number) -> None:
        """One map of two: what was kept for it goes."""
        self.makes(channels, side)
        self.held = self.held - kept
