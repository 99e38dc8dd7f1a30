"""Learning in rounded numbers (quantisation-aware training): a folded net whose weights and maps are those that ship.

Rounding has no slope, so gradients pass through it unchanged (straight-through estimator, Bengio et al. 2013, arXiv
1308.3432), and are zero where a number is cut. Scales and ranges are found before training, and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from snugnet.compress.config import Quantization
from snugnet.compress.execute import compute, run
from snugnet.compress.graph import Graph, Node, Weights
from snugnet.compress.numbers import HIGH, LOW, Codes, Range, recoded
from snugnet.compress.packing import layout, unpack
from snugnet.compress.quantize import Quantized, quantize
from snugnet.errors import RecipeError


class Rounded(nn.Module):
    """(N, C, H, W) normalised float images to (N, classes) logits; parameters are the weights before they are rounded.

    `weights` are those that `net` was quantised from.
    """

    def __init__(self, net: Quantized, weights: Weights) -> None:
        super().__init__()
        if net.graph.floating is not None:
            raise RecipeError(
                f"quantize.train: must be left out for a net with {net.graph.floating.kind.replace('_', ' ')}, which "
                "is not computed in integers; its weights are rounded as they are"
            )
        self.graph, self.codes = net.graph, net.codes
        stored = [node.name for node in net.graph.stored]
        self.weights = nn.ParameterDict({name: nn.Parameter(weights[name][0].clone()) for name in stored})
        self.biases = nn.ParameterDict({name: nn.Parameter(bias.clone()) for name, (_, bias) in weights.items()})
        for name, codes in net.codes.items():
            self.register_buffer(f"{name}:scales", codes.scales)
            self.register_buffer(f"{name}:factors", codes.factors)
        for name, each in net.ranges.items():
            self.register_buffer(f"{name}:scale", torch.tensor(each.scale))
            self.register_buffer(f"{name}:zero", torch.tensor(each.zero, dtype=torch.int32))
        self.ranged = tuple(net.ranges)

    def forward(self, images: Tensor) -> Tensor:
        return run(self.graph, images, self._compute)

    def _compute(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        if node.layer is None:
            value = compute(node, inputs)
        else:
            value = compute(node, inputs, self._weight(node.name), self.biases[node.name])
        if node.name not in self.ranged:
            return value
        scale, zero = self.get_buffer(f"{node.name}:scale"), self.get_buffer(f"{node.name}:zero")
        return torch.fake_quantize_per_tensor_affine(value, scale, zero, LOW, HIGH)

    def _weight(self, name: str) -> Tensor:
        owner = self.graph.owners[name]
        codes = self._codes(owner)
        steps, most = codes.steps(), codes.most
        exact = (self.weights[owner] / steps).clamp(-most - 0.5, most + 0.5)  # what is rounded to the last code learns
        rounded: Tensor = exact + (exact.round().clamp(-most, most) - exact).detach()
        return rounded * self._codes(name).steps()

    def _codes(self, name: str) -> Codes:
        """As they were found before training, on the device."""
        old, factors = self.codes[name], self._buffers[f"{name}:factors"]
        return Codes(old.bits, old.codes, self.get_buffer(f"{name}:scales"), factors, old.group)

    def quantized(self) -> Quantized:
        """The net as it ships."""
        biases = {name: bias.detach().cpu() for name, bias in self.biases.items()}
        weights = {name: (self.weights[self.graph.owners[name]].detach().cpu(), bias) for name, bias in biases.items()}
        own = {name: recoded(self._codes(name).cpu(), weights[name][0]) for name in self.weights}
        codes = {
            name: replace(self._codes(name).cpu(), codes=own[self.graph.owners[name]].codes) for name in self.biases
        }
        ranges = {
            name: Range(float(self.get_buffer(f"{name}:scale")), int(self.get_buffer(f"{name}:zero")))
            for name in self.ranged
        }
        return quantize(self.graph, weights, codes, ranges)


def blank(graph: Graph, quantization: Quantization) -> Rounded:
    """A net of the same shape, whose values are still to be loaded."""
    tensors = {name: torch.zeros(length, dtype=kind) for name, (kind, length) in layout(graph, quantization).items()}
    net = unpack(graph, quantization, tensors)
    return Rounded(net, {name: (codes.codes.float(), codes.scales) for name, codes in net.codes.items()})
