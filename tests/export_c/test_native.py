"""Every operation in C gives the integers of the reference, by vectors and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled import Answers, hwc, needs_cc, pixels, wanted
from hypothesis import HealthCheck, given, settings
from nets import RICH, rounded

from snugnet.compress.quantize import Quantized
from snugnet.errors import MissingExtra, UsageError
from snugnet.export_c import native, program
from snugnet.export_c.native import Native
from snugnet.models.spec import ModelSpec
from specs import SPECS, card, spec

pytestmark = needs_cc


def check(net: Quantized, found: ModelSpec) -> None:
    own, images = card(found), pixels(found)
    made = program.program(net, own.normalization)
    for fast in (False, True):
        assert Answers(*Native(made, fast=fast)(hwc(images))) == wanted(net, own, images)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SPECS)
def test_any_net(found: ModelSpec):
    check(rounded(found), found)


@pytest.mark.parametrize("activation", ["relu", "relu6", "gelu"])
def test_nets_of_many_parts(activation: str):
    found = RICH.model_copy(update={"activation": activation})
    check(rounded(found), found)
    check(rounded(found, weights="int4", group=8, first="int4"), found)


def test_attention_shared_weights_groups_and_filters():
    stage = {"blocks": 2, "channels": 9, "repeat": 2, "cbam": {"reduction": 3, "kernel": 3}, "eca": {}}
    shuffle = {"block": "shuffle", "blocks": 2, "channels": 16, "groups": 2, "blur": 3}
    found = spec(stage, shuffle, image_size=8)
    net = rounded(found)
    check(net, found)
    made = program.program(net, card(found).normalization)
    weights = [operation.arrays["weights"] for operation in made.operations if "weights" in operation.arrays]
    assert made.data_bytes < sum(array.nbytes for operation in made.operations for array in operation.arrays.values())
    assert len({array.tobytes() for array in weights}) < len(weights)  # of uses that share them


@pytest.mark.parametrize("size", [7, 8, 15])
@pytest.mark.parametrize("channels", [8, 11, 24, 33])
def test_maps_that_whole_vectors_and_tiles_do_not_divide(channels: int, size: int):
    found = spec(["basic", 1, channels], image_size=size)
    check(rounded(found), found)


def test_a_channel_whose_bias_fills_32_bits():
    """Its weights are next to nothing, so that a step of them is too, and the bias counts millions of those."""
    found = spec(["basic", 1, 9], image_size=8)
    net = rounded(found)
    node = net.graph.layers[1]
    name, before, after = node.name, net.range_of(node.inputs[0]).scale, net.range_of(node.name).scale
    biases = torch.tensor([2**31 - 1, -(2**31) + 1] * 4 + [0], dtype=torch.int32)
    codes = replace(net.codes[name], scales=torch.full((9,), 2.0**-25 * after / before))
    net = Quantized(net.graph, net.codes | {name: codes}, net.biases | {name: biases}, net.ranges)
    made = program.program(net, card(found).normalization)
    assert "starts" in next(each for each in made.operations if each.name == name).arrays
    check(net, found)


def test_vectors_are_used_where_there_are_any():
    found = spec(["basic", 1, 8], image_size=8)
    made = program.program(rounded(found), card(found).normalization)
    has_avx2 = "-mavx2" in native.target("cc") and "[enabled]" in native.target("cc").split("-mavx2 ")[1][:40]
    assert Native(made).is_fast == has_avx2
    assert not Native(made, fast=False).is_fast


def test_what_is_compiled_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNUG_CACHE", str(tmp_path))
    path = native.compiled()
    assert path.parent == tmp_path / "c"
    before = path.stat().st_mtime_ns
    assert native.compiled() == path
    assert path.stat().st_mtime_ns == before
    assert native.compiled((*native.FLAGS[:1], "-O1", *native.FLAGS[2:])) != path


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CC", "no-such-cc")
    with pytest.raises(
        MissingExtra, match=r"^a C compiler is needed to run C, and there is no no-such-cc; install one "
    ):
        native.compiled()


def test_sums_that_might_not_fit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(program, "LONGEST", 71)
    found = spec(["basic", 1, 8], image_size=8)
    with pytest.raises(UsageError, match=r"as C a layer may add up 71 products at most, .* fit int32; got 72$"):
        program.program(rounded(found), card(found).normalization)


def test_pixels_are_those_of_the_net():
    """256 values of a pixel, through normalisation and rounding."""
    found = spec(image_size=16, in_channels=1)
    own, net = card(found), rounded(found)
    made = program.program(net, own.normalization)
    first = net.ranges[net.graph.nodes[0].name]
    x = (np.arange(256) / 255 - 0.5) / 0.25
    near = np.clip(np.round(x / first.scale), first.low, first.high) + first.zero
    assert np.abs(made.pixels[0] - near).max() <= 1
    assert (made.pixels[0] == near).mean() > 0.95
