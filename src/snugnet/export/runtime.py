"""ONNX files read again and run by ONNX Runtime. A file is believed only as far as it was checked."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snugnet import artifact
from snugnet.artifact import KEY, Card, Shipped
from snugnet.errors import ArtifactError
from snugnet.export.emit import BATCH, INPUT, LOGITS, PROBABILITIES
from snugnet.export.extra import needed
from snugnet.export.operations import OPSET
from snugnet.export.pixels import module_of

SUFFIX = ".onnx"
QUIET = 4  # of ONNX Runtime's log: what is fatal alone; the rest comes as exceptions
MOST = 1 << 28  # numbers in all values of one image: 1 GB
KNOWN = (
    "Add AveragePool Cast Clip Concat Conv DequantizeLinear Div Elu Erf Flatten Gather Gemm GlobalAveragePool "
    "HardSigmoid LeakyRelu MatMul MaxPool Mul QuantizeLinear ReduceMax ReduceMean Relu Reshape Selu Sigmoid Softmax "
    "Softplus Sqrt Sub Tanh Transpose"
)
OPERATORS = frozenset(
    KNOWN.split()
)  # what our emitter writes; none of them loops, branches, or makes memory of a number


def read(path: Path) -> Shipped:
    """A file that `snug export` wrote, ready to run on as many threads as torch has.

    Raises ArtifactError for one that is missing, damaged, foreign, or at odds with its own card; MissingExtra.
    """
    data, card, raw = opened(path)
    running = session(path, data, torch.get_num_threads())

    def logits(images: Tensor) -> Tensor:
        return torch.from_numpy(running.run([LOGITS], {INPUT: images.numpy()})[0])

    return Shipped(path, len(data), card, module_of(logits, card, raw=raw))


def opened(path: Path) -> tuple[bytes, Card, bool]:
    """The bytes of a file that may be run, its card, and whether it takes normalised floats."""
    onnx = needed("onnx")
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; `snug export RUN` writes one")
    data, model = path.read_bytes(), onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # of protobuf, whose errors have no common base
        raise ArtifactError(f"{path}: not a readable ONNX file; copy or export it again") from error
    text = next((each.value for each in model.metadata_props if each.key == KEY), None)
    if text is None:
        raise ArtifactError(f"{path}: holds no snugnet card; give a file that `snug export` wrote")
    card = artifact.parse_card(path, text)
    if problem := next(_problems(model, card), None):
        raise ArtifactError(f"{path}: {problem}; no file that `snug export` wrote is so: copy or export it again")
    return data, card, bool(model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT)


def session(path: Path, data: bytes, threads: int) -> Any:
    """Of checked bytes. Raises ArtifactError where the runtime refuses them."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = QUIET
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of the runtime, whose errors have no common base
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path}: ONNX Runtime cannot run it ({reason}); export it again") from error


def _problems(model: Any, card: Card) -> Iterator[str]:
    """What keeps a file from being run, the first first: later ones rely on it."""
    graph = model.graph
    if [(each.domain, each.version) for each in model.opset_import] != [("", OPSET)]:
        yield f"its operators are not those of opset {OPSET}"
    if model.functions or model.training_info or graph.sparse_initializer:
        yield "it holds functions, training or sparse numbers"
    for constant in graph.initializer:
        yield from _problems_of_constant(constant)
    for node in graph.node:
        plain = {attribute.type for attribute in node.attribute} <= _plain_attributes()
        if node.domain or node.op_type not in OPERATORS or not plain:
            yield f"it holds the operator {f'{node.domain}.{node.op_type}'[:60].strip('.')!r}"
    yield from _problems_of_borders(graph, card)
    yield from _problems_of_values(model)


def _plain_attributes() -> set[int]:
    """Numbers and lists of whole ones: no graph, no tensor."""
    kinds = needed("onnx").AttributeProto
    return {kinds.INT, kinds.FLOAT, kinds.INTS}


def _problems_of_constant(constant: Any) -> Iterator[str]:
    onnx, name = needed("onnx"), constant.name[:60]
    if constant.data_location != onnx.TensorProto.DEFAULT or constant.external_data:
        yield f"its constant {name!r} lies in another file"
    kinds = {
        onnx.TensorProto.FLOAT: 4,
        onnx.TensorProto.INT64: 8,
        onnx.TensorProto.INT32: 4,
        onnx.TensorProto.INT8: 1,
        onnx.TensorProto.UINT8: 1,
    }
    width = kinds.get(constant.data_type)
    if width is None or min(constant.dims, default=1) < 0 or width * prod(constant.dims) != len(constant.raw_data):
        yield f"its constant {name!r} has not as many bytes as its shape and type say"


def _problems_of_borders(graph: Any, card: Card) -> Iterator[str]:
    kinds, spec = needed("onnx").TensorProto, card.model
    image = [BATCH, spec.in_channels, spec.image_size, spec.image_size]
    given, made = ([_border(each) for each in values] for values in (graph.input, graph.output))
    logits = (LOGITS, kinds.FLOAT, [BATCH, spec.classes])
    raw = [(INPUT, kinds.FLOAT, image)], [logits]
    whole = [(INPUT, kinds.UINT8, image)], [(PROBABILITIES, *logits[1:]), logits]
    if (given, made) not in (raw, whole):
        yield "it does not take the images, or does not give the classes, that its card names"


def _border(value: Any) -> tuple[str, int, list[str | int]]:
    kind = value.type.tensor_type
    return value.name, kind.elem_type, [each.dim_param or each.dim_value for each in kind.shape.dim]


def _problems_of_values(model: Any) -> Iterator[str]:
    """Of one image, every value must have a known size, and all together must fit in memory."""
    onnx = needed("onnx")
    one = onnx.ModelProto()
    one.CopyFrom(model)
    one.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del one.graph.value_info[:], one.graph.output[:]
    try:
        found = onnx.shape_inference.infer_shapes(one, strict_mode=True).graph.value_info
    except Exception as error:
        yield f"its shapes do not fit together ({' '.join(str(error).split())[:200]})"
        return
    sizes = {each.name: [side.dim_value for side in each.type.tensor_type.shape.dim] for each in found}
    missing = [name for node in model.graph.node for name in node.output if min(sizes.get(name, [0]), default=1) < 1]
    if missing:
        yield f"the shape of {missing[0][:60]!r} is unknown"
    elif (total := sum(map(prod, sizes.values()))) > MOST:
        yield f"its values are {total:,} numbers an image, more than {MOST:,}"
