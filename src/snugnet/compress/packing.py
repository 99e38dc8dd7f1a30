"""A quantised net as a few long tensors, in the order of its layers: a file's header stays short that way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, prod

import torch
from torch import Tensor

from snugnet.compress.config import Quantization
from snugnet.compress.graph import Graph, Node, in_floats
from snugnet.compress.numbers import Codes, Range
from snugnet.compress.quantize import Quantized, check, ranged

Shape = tuple[int, ...]


def layout(graph: Graph, quantization: Quantization) -> dict[str, tuple[torch.dtype, int]]:
    """Type and length of each tensor of the file; empty ones are left out. Raises RecipeError."""
    check(graph, quantization)
    lengths = dict.fromkeys(("weights8", "weights4", "factors", "scales", "biases", "ranges", "zeros", "floats"), 0)
    lengths["floats"] = sum(prod(shape) for node in graph.in_floats for shape in _float_shapes(node))
    for node in graph.layers:
        lengths["scales"] += graph.weight_shape(node)[0]
        lengths["biases"] += graph.weight_shape(node)[0]
    for name, bits in _bits(graph, quantization).items():
        shape = graph.weight_shape(graph.node(name))
        lengths[f"weights{bits}"] += prod(shape)
        lengths["factors"] += shape[0] * _groups(shape, bits, quantization)
    lengths["weights4"] = ceil(lengths["weights4"] / 2)
    if quantization.is_integer:
        lengths["ranges"] = lengths["zeros"] = len(ranged(graph))
    kinds = {"weights8": torch.int8, "weights4": torch.uint8, "factors": torch.uint8, "zeros": torch.int8}
    kinds["biases"] = torch.int32 if quantization.is_integer else torch.float32
    return {name: (kinds.get(name, torch.float32), length) for name, length in lengths.items() if length}


def _bits(graph: Graph, quantization: Quantization) -> dict[str, int]:
    """Of the weights of each node that owns its own."""
    stored = graph.stored
    return {node.name: quantization.bits(number, len(stored)) for number, node in enumerate(stored)}


def _float_shapes(node: Node) -> list[Shape]:
    """Of the numbers of a node that stay floats."""
    return [node.shape] if node.kind == "positions" else [node.shape[:1]] * 2


def _groups(shape: Shape, bits: int, quantization: Quantization) -> int:
    """Factors of each output channel; none where all its weights share one scale."""
    each = prod(shape[1:])
    return 0 if bits == 8 or not quantization.group or quantization.group >= each else ceil(each / quantization.group)


def pack(net: Quantized) -> dict[str, Tensor]:
    codes, layers, stored = net.codes, net.graph.layers, net.graph.stored
    nibbles = [codes[node.name].codes.flatten() for node in stored if codes[node.name].bits == 4]
    own = [codes[node.name].factors for node in stored]
    packed = {
        "weights8": [codes[node.name].codes.flatten() for node in stored if codes[node.name].bits == 8],
        "weights4": [_paired(torch.cat(nibbles))] if nibbles else [],
        "factors": [factors.flatten() for factors in own if factors is not None],
        "scales": [codes[node.name].scales for node in layers],
        "biases": [net.biases[node.name] for node in layers],
    }
    packed["floats"] = [each.flatten() for node in net.graph.in_floats for each in net.floats[node.name]]
    if net.ranges:
        found = [net.ranges[node.name] for node in ranged(net.graph)]
        packed["ranges"] = [torch.tensor([each.scale for each in found])]
        packed["zeros"] = [torch.tensor([each.zero for each in found], dtype=torch.int8)]
    return {name: torch.cat(parts).contiguous() for name, parts in packed.items() if parts}


def _paired(codes: Tensor) -> Tensor:
    """Two int4 a byte, the first in the low half."""
    low, high = torch.nn.functional.pad(codes, (0, len(codes) % 2)).view(-1, 2).unbind(1)
    return (low & 15).to(torch.uint8) | ((high & 15).to(torch.uint8) << 4)


def _unpaired(packed: Tensor) -> Tensor:
    halves = torch.stack([packed & 15, packed >> 4], dim=1).flatten().to(torch.int8)
    return torch.where(halves > 7, halves - 16, halves)


def unpack(graph: Graph, quantization: Quantization, tensors: Mapping[str, Tensor]) -> Quantized:
    """The inverse of `pack`, of tensors that agree with `layout`."""
    rest = {name: tensor for name, tensor in tensors.items() if name != "weights4"}
    if "weights4" in tensors:
        rest["weights4"] = _unpaired(tensors["weights4"])
    take = _Taker(rest)
    bits = _bits(graph, quantization)
    codes, biases = dict[str, Codes](), dict[str, Tensor]()
    for node in graph.layers:
        shape, owner = graph.weight_shape(node), graph.owners[node.name]
        if owner == node.name:
            codes[owner] = _unpacked(take, shape, bits[owner], quantization)
        else:
            codes[node.name] = replace(codes[owner], scales=take("scales", shape[:1]))
        biases[node.name] = take("biases", shape[:1])
    ranges = {}
    if quantization.is_integer:
        numbers = zip(tensors["ranges"].tolist(), tensors["zeros"].tolist(), strict=True)
        ranges = {node.name: Range(*each) for node, each in zip(ranged(graph), numbers, strict=True)}
    floats = {node.name: in_floats([take("floats", each) for each in _float_shapes(node)]) for node in graph.in_floats}
    return Quantized(graph, codes, biases, ranges, floats)


def _unpacked(take: _Taker, shape: Shape, bits: int, quantization: Quantization) -> Codes:
    groups = _groups(shape, bits, quantization)
    return Codes(
        bits,
        take(f"weights{bits}", shape),
        take("scales", shape[:1]),
        take("factors", (shape[0], groups)) if groups else None,
        quantization.group if groups else None,
    )


class _Taker:
    """Hands out tensors from the front of longer ones."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def __call__(self, name: str, shape: Shape) -> Tensor:
        own, self.tensors[name] = self.tensors[name][: prod(shape)], self.tensors[name][prod(shape) :]
        return own.view(shape)
