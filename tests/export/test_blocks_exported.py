"""Files of nets with attention, shared weights, groups, filters and transformers say what the nets say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snugnet.export.program import program_bytes, read_program
from snugnet.models.spec import ModelSpec
from specs import spec

pytest.importorskip("onnxruntime")
from written import exported, normalised, shipped

SMALL = {"image_size": 8}
TRANSFORMER = {"block": "transformer", "blocks": 1, "channels": 12, "heads": 3, "positions": True, "entry": {}}
NETS = {
    "attention": spec(
        {"blocks": 2, "channels": 12, "eca": {}, "repeat": 2},
        {"block": "preact", "blocks": 1, "channels": 9, "cbam": {"reduction": 3, "kernel": 3}},
        **SMALL,
    ),
    "groups and filters": spec(
        {"block": "shuffle", "blocks": 2, "channels": 16, "groups": 2, "blur": 3, "stride": 2},
        {"block": "wide", "blocks": 2, "channels": 10, "conv": {"kind": "bsconv-s", "norm": True}},
        stem={"bare": True, "norm_input": True},
        **SMALL,
    ),
    "hybrid": spec(["basic", 1, 8], TRANSFORMER, head={"pool": "attention"}, activation="gelu", **SMALL),
}


@pytest.mark.parametrize("name", NETS)
def test_999_of_1000_random_images_get_the_same_class(tmp_path: Path, name: str):
    for quantization in ({}, {"weights": "int8", "activations": "float"}):
        net = shipped(NETS[name], tmp_path, **quantization)
        images = normalised(net, 1000)
        wanted, got = net.model(images), exported(net).model(images)
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
        assert float((got.argmax(1) == wanted.argmax(1)).float().mean()) >= 0.999


@pytest.mark.parametrize("name", ["attention", "groups and filters"])
def test_integers_of_shared_weights_are_those_of_the_net(tmp_path: Path, name: str):
    net = shipped(NETS[name], tmp_path, weights="int8")
    assert name != "attention" or any((codes.scales < 0).any() for codes in net.quantized.codes.values())
    images = normalised(net, 200)
    wanted, got = net.model(images), exported(net).model(images)
    assert float((got - wanted).norm() / wanted.norm()) < 0.02


def test_a_program_takes_any_number_of_images(tmp_path: Path):
    found: ModelSpec = spec({"blocks": 2, "channels": 8, "repeat": 2, "eca": {}}, TRANSFORMER, **SMALL)
    net, path = shipped(found, tmp_path), tmp_path / "net.pt2"
    path.write_bytes(program_bytes(net, raw=True))
    images = normalised(net, 5)
    torch.testing.assert_close(read_program(path, net, raw=True).model(images), net.model(images))
