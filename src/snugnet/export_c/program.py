"""A quantised net as the operations of runtime/snug.h: what is written into a header, and what runs here.

The numbers are those of compress.integer, docs/quantize.md; maps lie height, width, channels, at the places of
compress.memory_plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from snugnet.compress import memory_plan
from snugnet.compress.graph import Node
from snugnet.compress.integer import limits, multipliers, table
from snugnet.compress.memory_plan import Plan
from snugnet.compress.numbers import HIGH, LOW, Multiplier
from snugnet.compress.quantize import Quantized
from snugnet.data.config import Normalization
from snugnet.data.loader import Normalize
from snugnet.errors import UsageError

Array = NDArray[np.generic]
KINDS = (
    "conv", "depthwise", "add", "mul", "cat", "max_pool", "avg_pool", "map", "transpose", "logits", "channel_max",
    "shuffle",
)  # as snug_kind  # fmt: skip
NUMBERS = (
    "in", "in2", "out", "scratch", "in_height", "in_width", "in_channels", "out_height", "out_width", "out_channels",
    "kernel", "stride", "padding", "groups", "step2", "first", "zero_in", "zero_in2", "zero_out", "low", "high",
)  # fmt: skip
ARRAYS = {"weights": np.int8, "starts": np.int32, "biases": np.int32, "factors": np.int32, "shifts": np.uint8}
INT32 = 2**31 - 1
LONGEST = INT32 // (128 * 127)  # products of int8 whose sum always fits int32
LARGEST = 2**21  # as a factor: whatever it scales but 0 is beyond int8, so a larger one does the same


@dataclass(frozen=True)
class Operation:
    """A snug_op: `numbers` of NUMBERS, those that are left out are 0; `arrays` of ARRAYS, null where left out."""

    kind: str
    name: str  # of its node
    numbers: dict[str, int]
    arrays: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A snug_net: `pixels` int8 (channels, 256), `steps` float64 (classes,)."""

    operations: tuple[Operation, ...]
    channels: int
    side: int
    classes: int
    input: int
    pixels: Array
    steps: Array
    plan: Plan

    @property
    def image_bytes(self) -> int:
        return self.channels * self.side**2

    @property
    def data_bytes(self) -> int:
        """Weights and constants, equal ones once, without what describes the operations."""
        each = {
            (array.dtype.str, array.tobytes()) for operation in self.operations for array in operation.arrays.values()
        }
        return sum(len(data) for _, data in each) + self.pixels.nbytes + self.steps.nbytes


def program(net: Quantized, normalization: Normalization) -> Program:
    """Raises UsageError for a layer whose sums might not fit int32."""
    graph, where = net.graph, memory_plan.plan(net.graph)
    image, last = graph.nodes[0], graph.nodes[-1]
    steps = net.range_of(last.inputs[0]).scale * net.codes[last.name].scales.double()
    return Program(
        operations=tuple(_operations(net, where)),
        channels=image.shape[0],
        side=image.shape[1],
        classes=last.shape[0],
        input=where.values[image.name],
        pixels=_pixels(net, image, normalization),
        steps=steps.numpy(),
        plan=where,
    )


def _pixels(net: Quantized, image: Node, normalization: Normalization) -> Array:
    """q of each value of a pixel, by the arithmetic that images go through elsewhere."""
    here = net.ranges[image.name]
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256).expand(1, image.shape[0], 1, 256)
    floats = Normalize(normalization, torch.device("cpu"))(ramp)
    v = (floats.double() / here.scale + 0.5).floor().clamp(here.low, here.high)
    return (v + here.zero).to(torch.int8).view(image.shape[0], 256).numpy()


def _operations(net: Quantized, where: Plan) -> Iterator[Operation]:
    for node in net.graph.nodes:
        if node.kind == "input" or memory_plan.is_alias(net.graph, node):
            continue
        if node.kind == "cat":
            yield from _cat(net, node, where)
        elif node.layer is not None:
            yield _layer(net, node, where)
        else:
            yield _plain(net, node, where)


def _numbers(net: Quantized, node: Node, where: Plan) -> dict[str, int]:
    """Those that every operation has; shapes of (C,) are maps of one place."""
    before, (channels, height, width) = net.graph.node(node.inputs[0]), _map(node.shape)
    in_channels, in_height, in_width = _map(before.shape)
    found = {"in": where.values[before.name], "in_height": in_height, "in_width": in_width, "in_channels": in_channels}
    found |= {"out_height": height, "out_width": width, "out_channels": channels}
    found |= {"kernel": node.kernel, "stride": node.stride, "padding": node.padding, "groups": node.groups}
    found["zero_in"] = net.range_of(before.name).zero
    if node.name == net.graph.nodes[-1].name:
        return found
    after = net.range_of(node.name)
    low, high = limits(node, after.low, after.high, after.scale)
    scratch = {"scratch": where.scratch[node.name]} if node.name in where.scratch else {}
    return found | scratch | {"out": where.values[node.name], "zero_out": after.zero, "low": low, "high": high}


def _map(shape: Sequence[int]) -> tuple[int, int, int]:
    return (shape[0], 1, 1) if len(shape) == 1 else (shape[0], shape[1], shape[2])


def _scaling(found: Sequence[Multiplier]) -> dict[str, Array]:
    factors = [max(-LARGEST, min(each.factor, LARGEST)) for each in found]
    return {"factors": np.array(factors, np.int32), "shifts": np.array([each.shift for each in found], np.uint8)}


def _plain(net: Quantized, node: Node, where: Plan) -> Operation:
    numbers = _numbers(net, node, where)
    if node.kind == "map":
        after = net.range_of(node.name)
        return Operation("map", node.name, numbers, {"weights": _as_int8(table(net, node) + after.zero)})
    if node.kind == "flatten":
        return Operation("transpose", node.name, numbers)
    if node.kind in ("max_pool", "channel_max", "shuffle"):
        return Operation(node.kind, node.name, numbers)
    scaling = _scaling([each for of_input in multipliers(net, node) for each in of_input])
    if node.kind == "channel_mean":  # a convolution whose weights are 1
        ones = np.ones((1, numbers["in_channels"]), np.int8)
        sums = _begun(ones, np.zeros(1, np.int32), numbers["zero_in"])
        return Operation("conv", node.name, numbers, {"weights": ones} | sums | scaling)
    if node.kind in ("add", "mul"):
        numbers |= _second(net, node, where, numbers)
    return Operation(node.kind, node.name, numbers, scaling)


def _as_int8(values: torch.Tensor) -> Array:
    assert LOW <= float(values.min()) <= float(values.max()) <= HIGH
    return values.to(torch.int8).numpy()


def _second(net: Quantized, node: Node, where: Plan, first: dict[str, int]) -> dict[str, int]:
    """The second input of an operation; of a product the smaller, which may be one number for each channel."""
    one, two = (net.graph.node(name) for name in node.inputs)
    if node.kind == "mul" and prod(one.shape) < prod(two.shape):
        one, two = two, one
    channels = two.shape[0]
    of_place = (1, *node.shape[1:])
    known = (node.shape,) if node.kind == "add" else (node.shape, (node.shape[0], 1, 1), of_place)
    if one.shape != node.shape or two.shape not in known:
        raise UsageError(f"{node.name}: as C it must join maps of one shape; got {one.shape} and {two.shape}")
    height, width = first["out_height"], first["out_width"]
    is_of_place = two.shape == of_place and node.shape[0] > 1
    return {
        "groups": node.shape[0] if is_of_place else 1,  # channels that share a number of the second
        "in": where.values[one.name],
        "zero_in": net.range_of(one.name).zero,
        "in_height": height,
        "in_width": width,
        "in_channels": node.shape[0],
        "in2": where.values[two.name],
        "zero_in2": net.range_of(two.name).zero,
        "step2": channels if two.shape in (node.shape, of_place) else 0,
    }


def _cat(net: Quantized, node: Node, where: Plan) -> Iterator[Operation]:
    first = 0
    for name, own in zip(node.inputs, multipliers(net, node), strict=True):
        channels, height, width = _map(net.graph.node(name).shape)
        part = {"in": where.values[name], "in_height": height, "in_width": width, "in_channels": channels}
        part |= {"zero_in": net.range_of(name).zero, "first": first}
        yield Operation("cat", node.name, _numbers(net, node, where) | part, _scaling(own))
        first += channels


def _layer(net: Quantized, node: Node, where: Plan) -> Operation:
    is_last = node.name == net.graph.nodes[-1].name
    numbers, weights = _numbers(net, node, where), _laid_out(net, node)
    scaling = {} if is_last else _scaling(multipliers(net, node)[0])
    biases = net.biases[node.name].numpy()
    if node.kind == "band":  # written out as a matrix
        numbers |= {"kernel": 1}
        weights, biases = _banded(weights, node.shape[0]), biases.repeat(node.shape[0])
        scaling = {name: array.repeat(node.shape[0]) for name, array in scaling.items()}
    if not is_last and memory_plan.is_depthwise(net.graph, node):
        own = {"weights": np.ascontiguousarray(weights.reshape(len(weights), -1).T), "biases": biases}
        return Operation("depthwise", node.name, numbers, own | scaling)
    if weights[0].size > LONGEST:
        raise UsageError(
            f"{node.name}: as C a layer may add up {LONGEST:,} products at most, for sums to fit int32; "
            f"got {weights[0].size:,}"
        )
    sums = _begun(weights, biases, numbers["zero_in"])
    return Operation("logits" if is_last else "conv", node.name, numbers, {"weights": weights} | sums | scaling)


def _banded(weights: Array, channels: int) -> Array:
    """int8 (C, C) of a band's weights: those of a channel stand around its own place."""
    around, row = weights.size // 2, weights.ravel().tolist()
    places = [np.eye(channels, k=offset - around, dtype=np.int8) * row[offset] for offset in range(weights.size)]
    return np.array(sum(places), np.int8)


def _begun(weights: Array, biases: Array, zero: int) -> dict[str, Array]:
    """What sums of q begin with to be those of q - zero, within the bias where that fits."""
    starts = -zero * weights.reshape(len(weights), -1).astype(np.int64).sum(1)
    both = biases.astype(np.int64) + starts
    if np.abs(both).max() <= INT32:
        return {"biases": both.astype(np.int32)}
    return {"starts": starts.astype(np.int32), "biases": biases}


def _laid_out(net: Quantized, node: Node) -> Array:
    """int8 (O, K, K, I), or (O, I) in the order in which a flattened map lies."""
    weights = net.codes[node.name].integers().numpy()
    if node.kind == "band":
        return weights
    if node.kind == "conv":
        return np.ascontiguousarray(weights.transpose(0, 2, 3, 1))
    before = net.graph.node(node.inputs[0])
    if before.kind == "flatten" and memory_plan.is_alias(net.graph, before):
        shape = _map(net.graph.node(before.inputs[0]).shape)
        return np.ascontiguousarray(weights.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(len(weights), -1))
    return weights
