"""Files as `snug export` writes them, made by hand; nothing here needs torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUTPUTS = ("probabilities", "logits")
CLASSES = ["airplane", "cat", "dog", "ship"]


def card(size: int, channels: int, classes: list[str], **changes: Any) -> str:
    """What is not a default, as an exporter writes it."""
    spec = {"image_size": (size, 32), "in_channels": (channels, 3), "classes": (len(classes), 10)}
    model = {name: value for name, (value, usual) in spec.items() if value != usual}
    fixed = {"mean": ["+0.500000"] * channels, "std": ["+0.250000"] * channels}
    return json.dumps({"format": 1, "model": model, "classes": classes, "normalization": fixed, **changes})


def write(path: Path, size: int = 32, channels: int = 3, *, text: str | None = None, kind: int = TensorProto.UINT8,
          classes: list[str] = CLASSES, scale: float = 1.0, maps: bool = False) -> Path:  # fmt: skip
    """A small net: normalisation, a convolution, the mean of its maps, a linear layer. `text`: of its card; `maps`:
    also what each place adds to a class."""
    draw = np.random.default_rng(0)
    weights = {
        "scale": np.float32(scale / 64),
        "shift": np.float32(-2),
        "kernel": draw.normal(0, 0.5, (8, channels, 3, 3)).astype(np.float32),
        "last": draw.normal(0, 2, (len(classes), 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["normal"]),
        helper.make_node("Conv", ["normal", "kernel"], ["maps"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["maps"], ["cut"]),
        helper.make_node("GlobalAveragePool", ["cut"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "last"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    shapes = {name: ["N", len(classes)] for name in OUTPUTS}
    if maps:
        weights["filters"] = weights["last"][:, :, None, None]
        nodes.append(helper.make_node("Conv", ["cut", "filters"], ["class_maps"]))
        shapes["class_maps"] = ["N", len(classes), size // 2, size // 2]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("images", kind, ["N", channels, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(model, {"snugnet": card(size, channels, classes) if text is None else text})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path
