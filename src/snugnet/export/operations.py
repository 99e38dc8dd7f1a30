"""Nodes of a graph as operators of ONNX, opset 13: the first whose integers have a scale for each channel, so that a
file runs on what was released since 2020. Functions that came later are written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

import numpy as np
from torch import nn

from snugnet.compress.graph import BLUNT, Graph, Node
from snugnet.errors import RecipeError
from snugnet.export.extra import needed

OPSET, IR = 13, 7
DIGITS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
Emit = Callable[["Sheet", str, Any], str]


class Sheet:
    """A graph of ONNX as it is written. Values have short names, and equal constants are one."""

    def __init__(self) -> None:
        self._helper = needed("onnx").helper
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def constant(self, values: np.ndarray[Any, Any]) -> str:
        own = np.ascontiguousarray(values)
        key = (own.dtype.str, values.shape, own.tobytes())
        if key not in self._known:
            name = self._known[key] = self._next()
            kind = self._helper.np_dtype_to_tensor_dtype(own.dtype)
            self.constants[name] = self._helper.make_tensor(name, kind, values.shape, own.tobytes(), raw=True)
        return self._known[key]

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of what an operator gives. Attributes at their default are left out by the caller."""
        output = self._next()
        self.nodes.append(self._helper.make_node(operator, inputs, [output], **attributes))
        return output

    def rename(self, names: dict[str, str]) -> None:
        for node in self.nodes:
            for values in (node.input, node.output):
                values[:] = [names.get(value, value) for value in values]

    def _next(self) -> str:
        number, name = self._count, ""
        self._count += 1
        while True:
            number, digit = divmod(number, len(DIGITS))
            name = DIGITS[digit] + name
            if not number:
                return name
            number -= 1


def uncut(sheet: Sheet, graph: Graph, node: Node, inputs: Sequence[str], weights: Sequence[str]) -> str:
    """What a node gives, before the function that cuts it. `weights` are its weight and bias."""
    match node.kind:
        case "conv":
            return sheet.add("Conv", *inputs, *weights, **_moves(node), **_if(node.groups != 1, group=node.groups))
        case "band":
            ends = node.kernel // 2
            turned = sheet.add("Transpose", *inputs, perm=[0, 2, 1, 3])
            summed = sheet.add("Conv", turned, *weights, **_if(ends, pads=[ends, 0, ends, 0]))
            return sheet.add("Transpose", summed, perm=[0, 2, 1, 3])
        case "linear":
            return sheet.add("Gemm", *inputs, *weights, transB=1)
        case "add":
            return sheet.add("Add", *inputs)
        case "mul":
            return sheet.add("Mul", *inputs)
        case "cat":
            return sheet.add("Concat", *inputs, axis=1)
        case "max_pool":
            return sheet.add("MaxPool", *inputs, kernel_shape=[node.kernel] * 2, **_moves(node))
        case "avg_pool":
            if node.shape[1:] == (1, 1) and node.kernel == graph.node(node.inputs[0]).shape[-1]:
                return sheet.add("GlobalAveragePool", *inputs)
            padded = _if(node.padding, count_include_pad=1)
            return sheet.add("AveragePool", *inputs, kernel_shape=[node.kernel] * 2, **_moves(node), **padded)
        case "layer_norm":
            return _layer_norm(sheet, inputs[0], weights, node.eps)
        case "positions":
            return sheet.add("Add", inputs[0], weights[0])
        case "attention":
            return _attention(sheet, inputs[0], node)
        case "weigh":
            return _weighed(sheet, *inputs, channels=node.shape[0])
        case "channel_max":
            return sheet.add("ReduceMax", *inputs, axes=[1])
        case "channel_mean":
            return sheet.add("ReduceMean", *inputs, axes=[1])
        case "shuffle":
            order = np.arange(node.shape[0], dtype=np.int32).reshape(node.groups, -1).T.ravel()
            return sheet.add("Gather", *inputs, sheet.constant(order), axis=1)
        case "flatten":
            return sheet.add("Flatten", *inputs)
        case "map":
            return FUNCTIONS[node.function](sheet, inputs[0], _usual(node))
        case "input":
            return inputs[0]


def _layer_norm(sheet: Sheet, x: str, weights: Sequence[str], eps: float) -> str:
    """Over channels. The weights come as (C, 1, 1)."""
    centred = sheet.add("Sub", x, sheet.add("ReduceMean", x, axes=[1]))
    variance = sheet.add("ReduceMean", sheet.add("Mul", centred, centred), axes=[1])
    spread = sheet.add("Sqrt", sheet.add("Add", variance, sheet.number(eps)))
    scaled = sheet.add("Mul", sheet.add("Div", centred, spread), weights[0])
    return sheet.add("Add", scaled, weights[1])


def _reshaped(sheet: Sheet, x: str, *shape: int) -> str:
    """As many images as before, each of a shape."""
    return sheet.add("Reshape", x, sheet.constant(np.array([0, *shape], np.int64)))


def _attention(sheet: Sheet, x: str, node: Node) -> str:
    """Queries, keys and values as (N, heads, width, places); shares of keys stand in columns."""
    channels, height, width = node.shape
    heads, each = node.groups, channels // node.groups
    parts = _reshaped(sheet, x, 3 * heads, each, height * width)
    rows = (np.arange(heads, dtype=np.int32) + part * heads for part in range(3))
    queries, keys, values = (sheet.add("Gather", parts, sheet.constant(row), axis=1) for row in rows)
    scores = sheet.add("MatMul", sheet.add("Transpose", keys, perm=[0, 1, 3, 2]), queries)
    shares = sheet.add("Softmax", sheet.add("Mul", scores, sheet.number(each**-0.5)), axis=2)
    return _reshaped(sheet, sheet.add("MatMul", values, shares), channels, height, width)


def _weighed(sheet: Sheet, x: str, scores: str, *, channels: int) -> str:
    shares = sheet.add("Softmax", _reshaped(sheet, scores, -1, 1), axis=1)
    return _reshaped(sheet, sheet.add("MatMul", _reshaped(sheet, x, channels, -1), shares), channels, 1, 1)


def cut(sheet: Sheet, node: Node, value: str) -> str:
    if node.kind == "map" or node.function not in BLUNT:
        return value
    return FUNCTIONS[node.function](sheet, value, None)


def _if(wanted: object, **attributes: Any) -> dict[str, Any]:
    return attributes if wanted else {}


def _moves(node: Node) -> dict[str, Any]:
    strides = _if(node.stride != 1, strides=[node.stride] * 2)
    return strides | _if(node.padding, pads=[node.padding] * 4)


def _usual(node: Node) -> Any:
    """The function of a map. Raises RecipeError where it is set to what its operator cannot say."""
    module = node.apply
    for kind in (nn.GELU, nn.Softplus):
        if isinstance(module, kind) and repr(module) != repr(kind()):
            raise RecipeError(f"model: cannot be exported: {module!r} at {node.name}; only {kind()!r} can be")
    return module


def _gelu(sheet: Sheet, x: str, module: Any) -> str:  # noqa: ARG001
    grown = sheet.add("Erf", sheet.add("Div", x, sheet.number(sqrt(2))))
    return sheet.add("Mul", sheet.add("Mul", x, sheet.add("Add", grown, sheet.number(1))), sheet.number(0.5))


FUNCTIONS: dict[str, Emit] = {
    "relu": lambda sheet, x, _: sheet.add("Relu", x),
    "relu6": lambda sheet, x, _: sheet.add("Clip", x, sheet.number(0), sheet.number(6)),
    "gelu": _gelu,
    "silu": lambda sheet, x, _: sheet.add("Mul", x, sheet.add("Sigmoid", x)),
    "hardswish": lambda sheet, x, _: sheet.add("Mul", x, sheet.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
    "leaky_relu": lambda sheet, x, module: sheet.add("LeakyRelu", x, alpha=float(module.negative_slope)),
    "elu": lambda sheet, x, module: sheet.add("Elu", x, alpha=float(module.alpha)),
    "selu": lambda sheet, x, _: sheet.add("Selu", x),
    "mish": lambda sheet, x, _: sheet.add("Mul", x, sheet.add("Tanh", sheet.add("Softplus", x))),
    "tanh": lambda sheet, x, _: sheet.add("Tanh", x),
    "softplus": lambda sheet, x, _: sheet.add("Softplus", x),
    "sigmoid": lambda sheet, x, _: sheet.add("Sigmoid", x),
}
