"""What is packed is unpacked, and its size is known before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets import FORMATS, RICH, images, rounded

from snugnet import artifact
from snugnet.compress.config import Quantization
from snugnet.compress.integer import module
from snugnet.compress.packing import layout, pack, unpack
from snugnet.errors import ArtifactError
from snugnet.models.resnet import build
from snugnet.models.spec import ModelSpec
from specs import SPECS, card


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SPECS, st.sampled_from(FORMATS))
def test_what_is_packed_is_unpacked(found: ModelSpec, values: dict[str, object]):
    net, kept = rounded(found, **values), Quantization.parse(values)
    packed = pack(net)
    assert {name: (value.dtype, len(value)) for name, value in packed.items()} == layout(net.graph, kept)
    again = unpack(net.graph, kept, packed)
    assert again.ranges == net.ranges
    for name, codes in net.codes.items():
        assert torch.equal(again.codes[name].integers(), codes.integers())
        assert torch.equal(again.codes[name].scales, codes.scales)
        assert torch.equal(again.biases[name], net.biases[name])
    assert all(torch.equal(pack(again)[name], value) for name, value in packed.items())


@pytest.mark.parametrize("values", [*FORMATS, {"weights": "float16"}])
def test_a_file_is_as_large_as_was_said_and_reads_as_it_was(tmp_path: Path, values: dict[str, object]):
    kept, path = Quantization.parse(values), tmp_path / "model.safetensors"
    written = card(RICH).model_copy(update={"quantization": kept})
    net = build(RICH).eval() if kept.weights == "float16" else rounded(RICH, **values)
    size = artifact.write(path, written, net)
    assert size == path.stat().st_size == artifact.predict_bytes(written)
    shipped, shown = artifact.read(path), images(RICH)
    assert shipped.card == written
    own = net if isinstance(net, torch.nn.Module) else module(net)
    exact = kept.weights != "float16"
    torch.testing.assert_close(shipped.model(shown), own(shown), rtol=0 if exact else 1e-2, atol=0 if exact else 1e-2)
    assert shipped.params == sum(parameter.numel() for parameter in build(RICH).parameters())


def test_int4_is_half_of_int8():
    int8, int4 = (layout(rounded(RICH).graph, Quantization.parse({"weights": kind})) for kind in ("int8", "int4"))
    first_and_last = int4["weights8"][1]
    assert int4["weights4"][1] == (int8["weights8"][1] - first_and_last + 1) // 2


def test_a_file_that_lies_about_its_numbers(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    artifact.write(path, card(RICH).model_copy(update={"quantization": Quantization()}), rounded(RICH, weights="int4"))
    with pytest.raises(
        ArtifactError, match=r"tensors do not fit its own specification: weights4 is unknown; weights8 is "
    ):
        artifact.read(path)
