"""A quantised net that computes: in integers alone, the reference that every other runtime is held against.

Values are kept as q - zero, so that zero is zero: in float32, which holds them exactly, and their sums too where these
stay below 2^24 (else in float64). Each result is scaled by factor / 2^shift, rounded with halves up, and cut to int8.
docs/quantize.md gives the arithmetic of each operation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snugnet.compress.execute import Folded, run, uncut
from snugnet.compress.graph import BLUNT, Node
from snugnet.compress.numbers import HIGH, LOW, Multiplier, as_tensors, scaled, shift_for
from snugnet.compress.quantize import KEEPS_RANGE, Quantized

EXACT = 2**24  # integers up to here are exact in float32, sums of any order too


def module(net: Quantized) -> nn.Module:
    """The net of (N, C, H, W) normalised float images to (N, classes) float logits."""
    if net.ranges:
        return Integer(net)
    weights = {name: (codes.values(), net.biases[name]) for name, codes in net.codes.items()}
    return Folded(net.graph, weights | net.floats)


class Integer(nn.Module):
    """(N, C, H, W) normalised float images to (N, classes) float32 logits, computed in integers between."""

    def __init__(self, net: Quantized) -> None:
        super().__init__()
        self.graph, self.ranges = net.graph, {node.name: net.range_of(node.name) for node in net.graph.nodes[:-1]}
        for node in net.graph.nodes:
            for part, value in _constants(net, node).items():
                self.register_buffer(f"{node.name}:{part}", value, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return run(self.graph, images, self._compute)

    def _compute(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        """q - zero of a node's values, or float logits."""
        if node.kind == "input":
            return self._quantized(inputs[0], node.name)
        if node.kind in KEEPS_RANGE:
            return uncut(node, inputs, None, None)
        if node.kind == "map":
            before = self.ranges[node.inputs[0]]
            return self._own(node, "table")[(inputs[0] - before.low).long()]
        if node.kind == "cat":
            parts = [scaled(x, *self._multiplier(node, number)) for number, x in enumerate(inputs)]
            return self._limited(node, torch.cat(parts, dim=1))
        if node.kind == "add":
            (first, shift), (second, _) = self._multiplier(node, 0), self._multiplier(node, 1)
            sums = inputs[0].double() * first + inputs[1].double() * second
            return self._limited(node, torch.floor(sums * torch.exp2(-shift) + 0.5))
        sums = self._sums(node, inputs)
        if node.name == self.graph.nodes[-1].name:
            return (sums.double() * self._own(node, "steps")).float()
        return self._limited(node, scaled(sums, *self._multiplier(node, 0)))

    def _sums(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        """Sums of products, whole numbers."""
        if node.layer is None:
            if node.kind == "avg_pool":
                return uncut(node, [inputs[0].double()], None, None).mul(node.kernel**2).round()
            if node.kind == "channel_mean":
                return inputs[0].double().sum(1, keepdim=True)
            return uncut(node, inputs, None, None)  # mul
        weight, bias = self._own(node, "weight"), self._own(node, "bias")
        return uncut(node, [inputs[0].to(weight.dtype)], weight, bias)

    def _own(self, node: Node, part: str) -> Tensor:
        return self.get_buffer(f"{node.name}:{part}")

    def _multiplier(self, node: Node, number: int) -> tuple[Tensor, Tensor]:
        return self._own(node, f"factor{number}"), self._own(node, f"shift{number}")

    def _quantized(self, values: Tensor, name: str) -> Tensor:
        here = self.ranges[name]
        return (values.double() / here.scale + 0.5).floor().clamp(here.low, here.high).float()

    def _limited(self, node: Node, values: Tensor) -> Tensor:
        low, high = limits(node, self.ranges[node.name].low, self.ranges[node.name].high, self.ranges[node.name].scale)
        return values.clamp(low, high).float()


def limits(node: Node, low: int, high: int, scale: float) -> tuple[int, int]:
    """Of q - zero, once the node's function has cut it."""
    if node.kind == "map" or node.function not in BLUNT:
        return low, high
    least, most = BLUNT[node.function]
    return max(low, round(least / scale)), high if most is None else min(high, int(most / scale + 0.5))


def _constants(net: Quantized, node: Node) -> dict[str, Tensor]:
    if node.kind in ("input", *KEEPS_RANGE):
        return {}
    if node.kind == "map":
        return {"table": table(net, node)}
    found = _weights(net, node) if node.layer else {}
    if node.name == net.graph.nodes[-1].name:
        return found | {"steps": net.range_of(node.inputs[0]).scale * net.codes[node.name].scales.double()}
    dims = len(node.shape) + 1
    for number, each in enumerate(multipliers(net, node)):
        found[f"factor{number}"], found[f"shift{number}"] = as_tensors(each, dims)
    return found


def _weights(net: Quantized, node: Node) -> dict[str, Tensor]:
    weight, bias = net.codes[node.name].integers(), net.biases[node.name]
    before = net.range_of(node.inputs[0])
    largest = weight.flatten(1).double().abs().sum(1) * max(-before.low, before.high) + bias.double().abs()
    kind = torch.float32 if float(largest.max()) < EXACT else torch.float64
    return {"weight": weight.to(kind), "bias": bias.to(kind)}


def table(net: Quantized, node: Node) -> Tensor:
    """q - zero of a map's result for each int8 that it reads, float32 (256,)."""
    before, after = net.range_of(node.inputs[0]), net.ranges[node.name]
    read = torch.arange(LOW, HIGH + 1, dtype=torch.float64) - before.zero
    assert node.apply is not None
    given = node.apply(read * before.scale)
    return (given / after.scale + 0.5).floor().clamp(after.low, after.high).float()


def multipliers(net: Quantized, node: Node) -> list[list[Multiplier]]:
    """What scales a node's sums to its range: for each input that is scaled by itself, one for all or each channel."""
    inputs, after = [net.range_of(name).scale for name in node.inputs], net.ranges[node.name].scale
    if node.kind == "add":
        shift = shift_for(max(inputs) / after)
        return [[Multiplier.near(scale / after, shift)] for scale in inputs]
    if node.kind == "cat":
        return [[Multiplier.near(scale / after)] for scale in inputs]
    if node.kind == "mul":
        return [[Multiplier.near(inputs[0] * inputs[1] / after)]]
    if node.kind == "avg_pool":
        return [[Multiplier.near(inputs[0] / (node.kernel**2 * after))]]
    if node.kind == "channel_mean":
        return [[Multiplier.near(inputs[0] / (net.graph.node(node.inputs[0]).shape[0] * after))]]
    scales = net.codes[node.name].scales.double().tolist()
    return [[Multiplier.near(inputs[0] * scale / after) for scale in scales]]
