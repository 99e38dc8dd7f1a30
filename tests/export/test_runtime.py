"""ONNX files that are not to be believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snugnet.errors import ArtifactError
from snugnet.export import runtime
from snugnet.export.emit import onnx_bytes
from specs import spec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from written import shipped  # noqa: E402


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return onnx_bytes(shipped(spec(["basic", 1, 4], image_size=8), tmp_path_factory.mktemp("net")))


def refused(data: bytes, folder: Path) -> str:
    path = folder / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        runtime.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def outside(model: Any) -> None:
    constant = model.graph.initializer[0]
    entry = constant.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.ClearField("raw_data")


def only_a_mention_of_outside(model: Any) -> None:
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "elsewhere"


def of_conv(model: Any) -> Any:
    return next(node for node in model.graph.node if node.op_type == "Conv")


def padded(model: Any) -> None:
    node = of_conv(model)
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("pads", [1 << 14] * 4))


def loop(model: Any) -> None:
    model.graph.node[0].op_type = "Loop"


def with_graph(model: Any) -> None:
    of_conv(model).attribute.append(onnx.helper.make_attribute("body", model.graph))


def foreign_domain(model: Any) -> None:
    model.graph.node[0].domain = "com.example"


def renamed(model: Any) -> None:
    model.graph.input[0].name = "pictures"


def larger(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 1 << 40


def fixed_batch(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def unconnected(model: Any) -> None:
    of_conv(model).input[0] = "nothing"


def huge_constant(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [1 << 31, 1 << 31]


def negative_constant(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [-3, -1]


def typed_data(model: Any) -> None:
    constant = model.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.float_data.extend([1.0, 2.0, 3.0])


def other_opset(model: Any) -> None:
    model.opset_import[0].version = 21


def function(model: Any) -> None:
    model.functions.add().name = "f"


def no_card(model: Any) -> None:
    del model.metadata_props[:]


def bad_card(model: Any) -> None:
    model.metadata_props[0].value = '{"format":1}'


def other_classes(model: Any) -> None:
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"class 0",', "")


SENDER = "; no file that `snug export` wrote is so: copy or export it again"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (outside, f"its constant 'b' lies in another file{SENDER}"),
        (only_a_mention_of_outside, f"its constant 'b' lies in another file{SENDER}"),
        (padded, "its values are "),
        (loop, f"it holds the operator 'Loop'{SENDER}"),
        (with_graph, f"it holds the operator 'Conv'{SENDER}"),
        (foreign_domain, f"it holds the operator 'com.example.Cast'{SENDER}"),
        (renamed, f"it does not take the images, or does not give the classes, that its card names{SENDER}"),
        (larger, f"it does not take the images, or does not give the classes, that its card names{SENDER}"),
        (fixed_batch, f"it does not take the images, or does not give the classes, that its card names{SENDER}"),
        (unconnected, "its shapes do not fit together ("),
        (huge_constant, f"its constant 'b' has not as many bytes as its shape and type say{SENDER}"),
        (negative_constant, f"its constant 'b' has not as many bytes as its shape and type say{SENDER}"),
        (typed_data, f"its constant 'b' has not as many bytes as its shape and type say{SENDER}"),
        (other_opset, f"its operators are not those of opset 13{SENDER}"),
        (function, f"it holds functions, training or sparse numbers{SENDER}"),
        (no_card, "holds no snugnet card; give a file that `snug export` wrote"),
        (bad_card, "its card cannot be read ("),
        (
            other_classes,
            "its card cannot be read (1 validation error for Card Value error, 9 class names for 10 logits",
        ),
    ],
)
def test_hostile_files(good: bytes, tmp_path: Path, spoil: Callable[[Any], None], words: str):
    model = onnx.load_model_from_string(good)
    spoil(model)
    assert refused(model.SerializeToString(), tmp_path).startswith(words)


def test_files_of_other_kinds(good: bytes, tmp_path: Path):
    assert refused(b"PK\x03\x04 no such thing", tmp_path) == "not a readable ONNX file; copy or export it again"
    assert refused(good[: len(good) // 2], tmp_path) == "not a readable ONNX file; copy or export it again"
    assert refused(b"", tmp_path) == "holds no snugnet card; give a file that `snug export` wrote"
    with pytest.raises(ArtifactError, match=r"none\.onnx: no such file; `snug export RUN` writes one$"):
        runtime.read(tmp_path / "none.onnx")


def test_what_the_runtime_refuses(good: bytes, tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"net\.onnx: ONNX Runtime cannot run it \(.*\); export it again$"):
        runtime.session(tmp_path / "net.onnx", good[:100], 1)
