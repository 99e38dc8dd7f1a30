"""ONNX files compute what the nets compute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn

from compress.nets import FORMATS, RICH
from snugnet.compress.graph import Node
from snugnet.errors import MissingExtra, RecipeError
from snugnet.export import extra, operations
from snugnet.export.emit import onnx_bytes
from snugnet.models.spec import ModelSpec
from specs import SPECS, spec

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from written import exported, normalised, pixels, shipped  # noqa: E402

PLAIN = spec(["basic", 2, 8], ["bottleneck", 1, 12])
FEW = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@FEW
@given(SPECS)
def test_floats_are_those_of_the_net(tmp_path_factory: pytest.TempPathFactory, found: ModelSpec):
    net = shipped(found, tmp_path_factory.mktemp("net"))
    images = normalised(net)
    wanted = net.model(images)
    torch.testing.assert_close(exported(net, raw=True).model(images), wanted, rtol=1e-4, atol=1e-4)


@FEW
@given(SPECS)
def test_integers_are_those_of_the_net(tmp_path_factory: pytest.TempPathFactory, found: ModelSpec):
    net = shipped(found, tmp_path_factory.mktemp("net"), weights="int8")
    images = normalised(net, 16)
    wanted, got = net.model(images), exported(net).model(images)
    assert float((got - wanted).norm()) <= 0.06 * float(wanted.norm()) + 1e-4


@pytest.mark.parametrize("activation", sorted(operations.FUNCTIONS.keys() - {"sigmoid"}))
def test_every_function(tmp_path: Path, activation: str):
    for found in (RICH, PLAIN):
        net = shipped(found.model_copy(update={"activation": activation}), tmp_path)
        images = normalised(net)
        torch.testing.assert_close(exported(net).model(images), net.model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("quantization", FORMATS, ids=str)
@pytest.mark.parametrize("found", [PLAIN, RICH], ids=["plain", "rich"])
def test_every_format_stays_what_it_was(tmp_path: Path, found: ModelSpec, quantization: dict[str, object]):
    net = shipped(found, tmp_path, **quantization)
    images = normalised(net, 32)
    wanted, got = net.model(images), exported(net).model(images)
    if quantization.get("activations") == "float":
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    else:
        assert float((got - wanted).norm() / wanted.norm()) < 0.02
        assert float((got.argmax(1) == wanted.argmax(1)).float().mean()) >= 0.9


def test_integers_are_computed_as_integers(tmp_path: Path):
    """By the runtime's own account of what it made of the file."""
    import onnxruntime

    net = shipped(PLAIN, tmp_path, weights="int8")
    options, made = onnxruntime.SessionOptions(), tmp_path / "made.onnx"
    options.optimized_model_filepath, options.log_severity_level = str(made), 4
    onnxruntime.InferenceSession(onnx_bytes(net, raw=True), options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(made).graph.node}
    assert {"QLinearConv", "QLinearAdd", "QGemm"} <= kinds
    assert not kinds & {"Conv", "FusedConv", "Gemm", "FusedGemm", "Add", "Relu"}


def test_sums_do_not_saturate(tmp_path: Path):
    """Products of the largest maps and weights exceed 16 bits in pairs, which uint8 by int8 does not survive."""
    net = shipped(spec(["single", 1, 16], image_size=8), tmp_path, weights="int8")
    assert net.quantized is not None
    for codes in net.quantized.codes.values():
        codes.codes.fill_(127)
    again = type(net)(net.path, 0, net.card, net.model, net.quantized)
    from snugnet.compress import integer

    wanted, images = integer.module(net.quantized), torch.ones(2, 3, 8, 8) * 3
    with torch.no_grad():
        expected = wanted(images)
    torch.testing.assert_close(exported(again, raw=True).model(images), expected, rtol=0.02, atol=1e-3)


def test_pre_processing_inside_is_that_outside(tmp_path: Path):
    import onnxruntime

    for quantization in ({}, {"weights": "int8"}):
        net = shipped(PLAIN, tmp_path, **quantization)
        inside, outside = (
            onnxruntime.InferenceSession(onnx_bytes(net, raw=raw), providers=["CPUExecutionProvider"])
            for raw in (False, True)
        )
        probabilities, logits = inside.run(None, {"images": pixels(PLAIN).numpy()})
        (expected,) = outside.run(None, {"images": normalised(net).contiguous().numpy()})
        assert np.array_equal(logits, expected)
        torch.testing.assert_close(torch.tensor(probabilities), torch.tensor(logits).softmax(1))
        assert (inside.get_inputs()[0].type, inside.get_inputs()[0].shape) == ("tensor(uint8)", ["N", 3, 32, 32])
        assert [each.name for each in inside.get_outputs()] == ["probabilities", "logits"]


@pytest.mark.parametrize("quantization", [{}, {"weights": "int8"}], ids=str)
def test_a_batch_is_its_images(tmp_path: Path, quantization: dict[str, object]):
    net = exported(shipped(PLAIN, tmp_path, **quantization))
    images = normalised(net, 5)
    together = net.model(images)
    apart = torch.cat([net.model(each) for each in images.split(1)])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


def test_bytes_are_what_the_numbers_take(tmp_path: Path):
    net = shipped(PLAIN, tmp_path)
    data = onnx_bytes(net)
    assert data == onnx_bytes(net)
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    constants = sum(len(each.raw_data) for each in model.graph.initializer)
    card = json.loads(model.metadata_props[0].value)
    assert card == json.loads(net.card.text())
    assert len(data) - constants - len(net.card.text()) < 60 * len(model.graph.node)
    assert (model.ir_version, model.opset_import[0].version, model.doc_string) == (7, 13, "")
    assert len(data) < net.size_bytes
    whole = shipped(PLAIN, tmp_path, weights="int8", activations="float")
    assert len(onnx_bytes(whole)) < len(data) / 2  # weights stay integers in the file


def test_equal_constants_are_one():
    sheet = operations.Sheet()
    names = [sheet.constant(np.zeros(3, kind)) for kind in (np.uint8, np.uint8, np.int8)]
    assert names == ["a", "a", "b"]
    assert sheet.number(0) != sheet.constant(np.zeros(1, np.float32))
    assert [sheet._next() for _ in range(52)][-4:] == ["aa", "ab", "ac", "ad"]


@pytest.mark.parametrize("module", [nn.GELU(approximate="tanh"), nn.Softplus(beta=2)])
def test_functions_that_no_operator_says(module: nn.Module):
    node = Node("here", "map", ("x",), (1,), function="gelu", apply=module)
    with pytest.raises(RecipeError, match=r"^model: cannot be exported: .* at here; only .* can be$"):
        operations.uncut(operations.Sheet(), None, node, ["x"], ())


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def missing(name: str) -> None:
        raise ImportError(name)

    net = shipped(PLAIN, tmp_path)
    monkeypatch.setattr(extra.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"^ONNX: needs onnx, not installed here: pip install 'snugnet\[export\]'$"):
        onnx_bytes(net)


@pytest.mark.parametrize("quantization", FORMATS, ids=str)
def test_class_maps_and_the_bias_are_the_logits(tmp_path: Path, quantization: dict[str, object]):
    """Of integers but for the rounding of the mean; their mean then is that of the net's own last map."""
    import onnxruntime

    net = shipped(PLAIN, tmp_path, **quantization)
    session = onnxruntime.InferenceSession(onnx_bytes(net, maps=True), providers=["CPUExecutionProvider"])
    logits, maps = session.run(["logits", "class_maps"], {"images": pixels(PLAIN, 8).numpy()})
    differences = logits - maps.mean((2, 3))
    assert maps.shape[2:] == (PLAIN.map_sizes()[-2],) * 2
    assert differences.std(0).max() < (1e-3 if quantization.get("activations") == "float" else 0.1) * logits.std()


def test_nets_without_a_mean_before_the_classes_have_no_class_maps(tmp_path: Path):
    flat = PLAIN.model_copy(update={"head": PLAIN.head.model_copy(update={"pool": "flatten"})})
    file = onnx.load_from_string(onnx_bytes(shipped(flat, tmp_path), maps=True))
    assert [each.name for each in file.graph.output] == ["probabilities", "logits"]
