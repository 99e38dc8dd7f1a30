"""A shipped net as an ONNX file: one file, nothing outside it, one emitter for floats and for integers (QDQ)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snugnet.artifact import KEY, Shipped
from snugnet.compress.graph import Graph, Node, Weights, folded, structure
from snugnet.compress.integer import limits
from snugnet.compress.numbers import LOW, Codes, Range
from snugnet.compress.quantize import Quantized
from snugnet.data.config import Normalization
from snugnet.data.loader import pixel_scale
from snugnet.export.extra import needed
from snugnet.export.operations import IR, OPSET, Sheet, cut, uncut

INPUT, LOGITS, PROBABILITIES, MAPS = "images", "logits", "probabilities", "class_maps"
BATCH = "N"  # the name of the dimension that any number of images may take
MIDDLE = 128  # the uint8 that stands for a weight of 0


def onnx_bytes(shipped: Shipped, *, raw: bool = False, maps: bool = False) -> bytes:
    """The file of a net: uint8 images (N, C, H, W) in, probabilities and logits (N, classes) out; `raw`: normalised
    float images in, logits out; `maps`: what each place adds to each logit out as well, where `_class_maps` can say.
    Raises MissingExtra, RecipeError."""
    onnx, card, sheet = needed("onnx"), shipped.card, Sheet()
    spec = card.model
    graph = structure(spec)
    values = _net(sheet, graph, shipped, INPUT if raw else _normalised(sheet, card.normalization))
    last = values[graph.nodes[-1].name]
    looks = _class_maps(sheet, graph, values) if maps else None  # the side of the maps
    outputs = [last] if raw else [sheet.add("Softmax", last, axis=1), last]
    names = (LOGITS,) if raw else (PROBABILITIES, LOGITS)
    sheet.rename(dict(zip(outputs, names, strict=True)))
    kinds, describe = onnx.TensorProto, onnx.helper.make_tensor_value_info
    shape = (BATCH, spec.in_channels, spec.image_size, spec.image_size)
    made = onnx.helper.make_graph(
        sheet.nodes,
        "net",
        [describe(INPUT, kinds.FLOAT if raw else kinds.UINT8, shape)],
        [
            *(describe(name, kinds.FLOAT, (BATCH, spec.classes)) for name in names),
            *([describe(MAPS, kinds.FLOAT, (BATCH, spec.classes, looks, looks))] if looks else []),
        ],
        list(sheet.constants.values()),
    )
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(made, producer_name="snugnet", opset_imports=opsets, ir_version=IR)
    onnx.helper.set_model_props(model, {KEY: card.text()})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _normalised(sheet: Sheet, constants: Normalization) -> str:
    """Float images of uint8 ones, by the very multiplication and sum that training has."""
    scale, shift = (each.view(-1, 1, 1).numpy() for each in pixel_scale(constants))
    floats = sheet.add("Cast", INPUT, to=needed("onnx").TensorProto.FLOAT)
    return sheet.add("Add", sheet.add("Mul", floats, sheet.constant(scale)), sheet.constant(shift))


def _class_maps(sheet: Sheet, graph: Graph, values: dict[str, str]) -> int | None:
    """Adds the class activation maps (Zhou et al. 2016, arXiv 1512.04150, eq. 2), (N, classes, side, side), and gives
    their side: of a net that ends in the mean of its last map and a linear layer. There the mean of a class's map and
    the bias are its logit. None of other nets, and where the last map is a pixel."""
    last = graph.nodes[-1]
    flat = graph.node(last.inputs[0])
    pool = graph.node(flat.inputs[0]) if flat.kind == "flatten" else flat
    if (last.kind, pool.kind, pool.function) != ("linear", "avg_pool", "") or pool.shape[1:] != (1, 1):
        return None
    seen = graph.node(pool.inputs[0])
    side, weight = seen.shape[-1], sheet.nodes[-1].input[1]
    if side == 1 or pool.kernel != side or pool.padding:
        return None
    filters = sheet.add("Unsqueeze", weight, sheet.constant(np.array([2, 3])))
    maps = sheet.add("Conv", values[seen.name], filters)
    sheet.rename({maps: MAPS})
    return side


def _net(sheet: Sheet, graph: Graph, shipped: Shipped, images: str) -> dict[str, str]:
    """What each node gives for normalised float images; the last the logits."""
    numbers: Floats | WholeWeights | Integers
    if shipped.quantized is None:
        numbers = Floats(sheet, graph, folded(graph, shipped.model.state_dict()))
    elif not shipped.quantized.ranges:
        numbers = WholeWeights(sheet, shipped.quantized)
    else:
        numbers = Integers(sheet, shipped.quantized)
    values: dict[str, str] = {}
    for node in graph.nodes:
        inputs = [images] if node.kind == "input" else [values[name] for name in node.inputs]
        values[node.name] = numbers(node, inputs)
    return values


def floats(sheet: Sheet, node: Node, weights: Weights) -> list[str]:
    """The numbers of a node that stay floats, those of channels as (C, 1, 1)."""
    given = weights[node.name] if node.floats else ()
    return [sheet.constant((each if each.dim() == 3 else each.view(-1, 1, 1)).numpy()) for each in given]


@dataclass(frozen=True)
class Floats:
    """Operations of a net in float32."""

    sheet: Sheet
    graph: Graph
    weights: Weights

    def __call__(self, node: Node, inputs: Sequence[str]) -> str:
        plain = () if node.floats else self.weights.get(node.name, ())
        own = [self.sheet.constant(each.numpy()) for each in plain] or floats(self.sheet, node, self.weights)
        return cut(self.sheet, node, uncut(self.sheet, self.graph, node, inputs, own))


@dataclass(frozen=True)
class WholeWeights:
    """The same of a net whose weights alone are integers: they stay so in the file, and a runtime makes them floats
    once, as it loads."""

    sheet: Sheet
    net: Quantized

    def __call__(self, node: Node, inputs: Sequence[str]) -> str:
        own = self._weights(node) if node.layer else floats(self.sheet, node, self.net.floats)
        return cut(self.sheet, node, uncut(self.sheet, self.net.graph, node, inputs, own))

    def _weights(self, node: Node) -> tuple[str, str]:
        sheet, codes = self.sheet, self.net.codes[node.name]
        floats = sheet.add("Cast", sheet.constant(codes.integers().numpy()), to=needed("onnx").TensorProto.FLOAT)
        scales = codes.scales.view(-1, *[1] * (codes.codes.dim() - 1))
        weight = sheet.add("Mul", floats, sheet.constant(scales.numpy()))
        return weight, sheet.constant(self.net.biases[node.name].numpy())


@dataclass(frozen=True)
class Integers:
    """Operations between a DequantizeLinear and a QuantizeLinear, which a runtime joins to one in integers.

    Maps and weights are uint8, zeros at 128 where ours are int8 with zeros at 0, and the numbers they stand for the
    same: ONNX Runtime's kernels for uint8 by int8 saturate sums of two products at 16 bits on CPUs without VNNI, those
    for int8 by int8 leave many operations in floats, and those for uint8 by uint8 are exact on all.
    """

    sheet: Sheet
    net: Quantized

    def __call__(self, node: Node, inputs: Sequence[str]) -> str:
        own = self._weights(node) if node.layer else ()
        value = uncut(self.sheet, self.net.graph, node, inputs, own)
        if node.name == self.net.graph.nodes[-1].name:
            return value
        here = self.net.range_of(node.name)
        if limits(node, here.low, here.high, here.scale) != (here.low, here.high):  # else the range cuts
            value = cut(self.sheet, node, value)
        constants = self._range(here)
        whole = self.sheet.add("QuantizeLinear", value, *constants)
        return self.sheet.add("DequantizeLinear", whole, *constants)

    def _range(self, here: Range) -> tuple[str, str]:
        zero = np.array(here.zero - LOW, np.uint8)
        return self.sheet.number(here.scale), self.sheet.constant(zero)

    def _weights(self, node: Node) -> tuple[str, str]:
        """int4 too: a code times its factor is an int8."""
        sheet, codes = self.sheet, self.net.codes[node.name]
        steps = (self.net.range_of(node.inputs[0]).scale * codes.scales.abs().double()).float()
        weight = sheet.add("DequantizeLinear", *self._codes(codes), axis=0)
        biases = sheet.constant((self.net.biases[node.name] * codes.signs).numpy())
        return weight, sheet.add("DequantizeLinear", biases, sheet.constant(steps.numpy()), axis=0)

    def _codes(self, codes: Codes) -> tuple[str, str, str]:
        """Scales above zero, as runtimes want them."""
        signs = codes.signs.view(-1, *[1] * (codes.codes.dim() - 1))
        unsigned = ((codes.integers() * signs).numpy().astype(np.int16) + MIDDLE).astype(np.uint8)
        zeros = np.full(len(unsigned), MIDDLE, np.uint8)
        return (
            self.sheet.constant(unsigned),
            self.sheet.constant(codes.scales.abs().numpy()),
            self.sheet.constant(zeros),
        )
