"""Running a graph: the order of its operations, and what each computes in floating point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet.compress.graph import BLUNT, Graph, Node, Weights
from snugnet.models import compact
from snugnet.models.layers import shuffled

Operation = Callable[[Node, Sequence[Tensor]], Tensor]


def run(graph: Graph, images: Tensor, operation: Operation) -> Tensor:
    """What the last node gives for a batch; each value is let go of where its last reader has run."""
    last = {name: node.name for node in graph.nodes for name in node.inputs}
    values: dict[str, Tensor] = {}
    for node in graph.nodes:
        inputs = [images] if node.kind == "input" else [values[name] for name in node.inputs]
        values[node.name] = operation(node, inputs)
        for name in set(node.inputs):
            if last[name] == node.name:
                del values[name]
    return values[graph.nodes[-1].name]


def compute(node: Node, inputs: Sequence[Tensor], weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """What a node gives, in the type of its inputs, (N, *node.shape)."""
    return cut(node, uncut(node, inputs, weight, bias))


def uncut(node: Node, inputs: Sequence[Tensor], weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """The same before the function that cuts it."""
    x = inputs[0]
    match node.kind:
        case "conv":
            assert weight is not None
            return F.conv2d(x, weight, bias, node.stride, node.padding, groups=node.groups)
        case "band":
            assert weight is not None
            return F.conv2d(x.transpose(1, 2), weight, bias, padding=(node.kernel // 2, 0)).transpose(1, 2)
        case "linear":
            assert weight is not None
            return F.linear(x, weight, bias)
        case "add":
            return x + inputs[1]
        case "mul":
            return x * inputs[1]
        case "cat":
            return torch.cat(list(inputs), dim=1)
        case "max_pool":
            return F.max_pool2d(x, node.kernel, node.stride, node.padding)
        case "avg_pool":
            return F.avg_pool2d(x, node.kernel, node.stride, node.padding)
        case "layer_norm":
            assert weight is not None
            assert bias is not None
            return compact.layer_norm(x, weight, bias, node.eps)
        case "positions":
            assert weight is not None
            return x + weight
        case "attention":
            return compact.attended(x, node.groups)
        case "weigh":
            return compact.weighed(x, inputs[1])
        case "channel_max":
            return x.amax(1, keepdim=True)
        case "channel_mean":
            return x.mean(1, keepdim=True)
        case "shuffle":
            return shuffled(x, node.groups)
        case "flatten":
            return x.flatten(1)
        case "map":
            assert node.apply is not None
            return node.apply(x.clone())  # torch's own may work in place
        case "input":
            return x


def cut(node: Node, x: Tensor) -> Tensor:
    if node.kind == "map" or node.function not in BLUNT:
        return x
    low, high = BLUNT[node.function]
    return x.clamp(low, high)


class Folded(nn.Module):
    """A net without its norms: (N, C, H, W) normalised float images to (N, classes) logits."""

    def __init__(self, graph: Graph, weights: Weights) -> None:
        super().__init__()
        self.graph = graph
        self.weights = nn.ParameterDict({name: nn.Parameter(weight) for name, (weight, _) in weights.items()})
        self.biases = nn.ParameterDict({name: nn.Parameter(bias) for name, (_, bias) in weights.items()})

    def forward(self, images: Tensor) -> Tensor:
        return run(self.graph, images, self._compute)

    def _compute(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        if node.layer is None and not node.floats:
            return compute(node, inputs)
        return compute(node, inputs, self.weights[node.name], self.biases[node.name])


def observe(graph: Graph, weights: Weights, images: Tensor, see: Mapping[str, Callable[[Tensor], None]]) -> Tensor:
    """The logits of a batch, while `see` is shown the values of the nodes it names."""

    def operation(node: Node, inputs: Sequence[Tensor]) -> Tensor:
        value = compute(node, inputs, *weights.get(node.name, (None, None)))
        if node.name in see:
            see[node.name](value)
        return value

    return run(graph, images, operation)
