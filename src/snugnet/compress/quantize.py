"""A folded net in integers: which numbers are made of its weights and of the maps between its operations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from snugnet.compress.config import Quantization, QuantizeConfig
from snugnet.compress.execute import observe
from snugnet.compress.graph import Graph, Node, Weights
from snugnet.compress.numbers import Codes, Range, best_range, quantize_weight
from snugnet.errors import RecipeError

LEAST_SHARE = 2.0**-16
SAMPLE = 16_384  # values of a map that are kept of each batch
PERCENTILE = 99.99
KEEPS_RANGE = ("max_pool", "channel_max", "shuffle", "flatten")  # what comes out is among what went in


@dataclass(frozen=True)
class Quantized:
    """A net as it ships: by name of node. `ranges` is empty where activations are float, and biases are float32 then;
    else a bias is int32 in steps of its input's scale times its channel's. `floats` are weight and bias of what stays
    as it is: layer norms and positions."""

    graph: Graph
    codes: dict[str, Codes]
    biases: dict[str, Tensor]
    ranges: dict[str, Range]
    floats: Weights = field(default_factory=dict)

    def range_of(self, name: str) -> Range:
        """Of the values of a node, those included that keep the range of their input."""
        node = self.graph.node(name)
        return self.range_of(node.inputs[0]) if node.kind in KEEPS_RANGE else self.ranges[name]


def check(graph: Graph, config: Quantization) -> None:
    """Raises RecipeError of a net that integers cannot compute, where they should."""
    if config.is_integer and graph.floating is not None:
        raise RecipeError(
            f"quantize.activations: must be 'float' for a net with {graph.floating.kind.replace('_', ' ')}, which is "
            f"not computed in integers; got {config.activations or 'int8'!r}; weights may be int8 or int4 all the same"
        )


def ranged(graph: Graph) -> list[Node]:
    """The nodes whose values get a range of their own: all but those that keep one, and the logits."""
    return [node for node in graph.nodes[:-1] if node.kind not in KEEPS_RANGE]


def quantize_weights(graph: Graph, weights: Weights, config: Quantization) -> dict[str, Codes]:
    """Nodes that share weights share their codes, made of the largest row of each channel; each has its own scales,
    which are negative where its norm turns a channel round."""
    stored, found = graph.stored, dict[str, Codes]()
    for number, owner in enumerate(stored):
        uses = [name for name, own in graph.owners.items() if own == owner.name]
        rows = torch.stack([weights[name][0] for name in uses])
        largest = rows.flatten(2).norm(dim=2).argmax(0)
        base, bits = rows[largest, torch.arange(rows.shape[1])], config.bits(number, len(stored))
        codes = quantize_weight(base, bits, config.group if bits == 4 else None)
        for name in uses:
            share = torch.ones_like(codes.scales) if len(uses) == 1 else _share(weights[name][0], base)
            found[name] = replace(codes, scales=codes.scales * share)
    return found


def _share(weight: Tensor, base: Tensor) -> Tensor:
    """How many times the base each channel's weights are; of nothing a trace, since scales are divided by."""
    dots, squares = ((each * base).flatten(1).sum(1) for each in (weight, base))
    share = torch.where(squares > 0, dots / squares, torch.ones_like(dots))
    return torch.where(share < 0, -1.0, 1.0) * share.abs().clamp(min=LEAST_SHARE)


@torch.no_grad()
def calibrate(graph: Graph, weights: Weights, batches: Iterable[Tensor], config: QuantizeConfig) -> dict[str, Range]:
    """The range of each map, from normalised images (N, C, H, W) run through the float net."""
    seen = {node.name: _Seen() for node in ranged(graph)}
    for images in batches:
        observe(graph, weights, images, seen)
    return {name: each.range(config) for name, each in seen.items()}


class _Seen:
    """What was seen of a map: its ends, and a fixed random sample."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0
        self.samples: list[Tensor] = []
        self.chance = torch.Generator().manual_seed(0)  # even steps would meet the same places of every map

    def __call__(self, values: Tensor) -> None:
        flat = values.flatten()
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        self.samples.append(flat[torch.randint(len(flat), (min(SAMPLE, len(flat)),), generator=self.chance)])

    def range(self, config: QuantizeConfig) -> Range:
        if config.calibrate == "minmax":
            return Range.around(self.low, self.high)
        sample = torch.cat(self.samples)
        if config.calibrate == "mse":
            return best_range(sample)
        share = (config.percentile or PERCENTILE) / 100
        ends = torch.tensor([1 - share, share])
        low, high = torch.quantile(sample[:10_000_000], ends).tolist()
        return Range.around(low, high)


def whole_biases(
    graph: Graph, weights: Weights, codes: dict[str, Codes], ranges: dict[str, Range]
) -> dict[str, Tensor]:
    """int32 biases in steps of what the sums of their layers count."""
    net = Quantized(graph, codes, {}, ranges)
    found = {}
    for node in graph.layers:
        steps = net.range_of(node.inputs[0]).scale * codes[node.name].scales.double()
        most = 2.0**31 - 2.0**16
        found[node.name] = (weights[node.name][1].double() / steps).round().clamp(-most, most).to(torch.int32)
    return found


def quantize(graph: Graph, weights: Weights, codes: dict[str, Codes], ranges: dict[str, Range]) -> Quantized:
    """Without ranges biases stay float, and activations."""
    if not ranges:
        floats = {node.name: weights[node.name] for node in graph.in_floats}
        return Quantized(graph, codes, {name: weights[name][1] for name in codes}, {}, floats)
    return Quantized(graph, codes, whole_biases(graph, weights, codes, ranges), ranges)


def quantized(graph: Graph, weights: Weights, batches: Iterable[Tensor], config: QuantizeConfig) -> Quantized:
    """A trained net in integers, calibrated on `batches` of normalised images."""
    check(graph, config)
    codes = quantize_weights(graph, weights, config)
    return quantize(graph, weights, codes, calibrate(graph, weights, batches, config) if config.is_integer else {})
