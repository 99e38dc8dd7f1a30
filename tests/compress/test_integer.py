"""The net in integers: every operation gives the number nearest to what floats give."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from nets import RICH, images, rounded, taken_apart
from torch import Tensor

from snugnet.compress.execute import compute
from snugnet.compress.graph import Node
from snugnet.compress.integer import Integer, module
from snugnet.models.spec import ModelSpec
from specs import SPECS, spec


def check_each_operation(found: ModelSpec) -> None:
    net = rounded(found)
    running = Integer(net)
    inner = running._compute

    def real(name: str, values: Tensor) -> Tensor:
        return values.double() * running.ranges[name].scale

    def checked(node: Node, inputs: Sequence[Tensor]) -> Tensor:
        given, seen = [], inner(node, inputs)
        if node.kind == "input":
            given = [inputs[0].double()]
        else:
            given = [real(name, values) for name, values in zip(node.inputs, inputs, strict=True)]
        weights = [None, None]
        if node.layer:
            codes, before = net.codes[node.name], running.ranges[node.inputs[0]].scale
            steps = before * codes.scales.double()
            weights = [codes.codes.double() * codes.steps().double(), net.biases[node.name].double() * steps]
        wanted = compute(node, given, *weights)
        if node.name == net.graph.nodes[-1].name:
            torch.testing.assert_close(seen.double(), wanted, rtol=1e-5, atol=1e-6)
            return seen
        here = running.ranges[node.name]
        assert torch.equal(seen, seen.round())
        assert here.low <= int(seen.min()) <= int(seen.max()) <= here.high
        within = wanted.clamp(here.low * here.scale, here.high * here.scale)
        assert float((real(node.name, seen) - within).abs().max()) <= 0.501 * here.scale, node
        return seen

    running._compute = checked
    running(images(found))


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SPECS)
def test_every_operation_is_rounded_to_the_nearest(found: ModelSpec):
    check_each_operation(found)


@pytest.mark.parametrize("activation", ["relu", "relu6", "gelu", "hardswish"])
def test_nets_of_many_parts(activation: str):
    check_each_operation(RICH.model_copy(update={"activation": activation}))


@pytest.mark.parametrize("found", [spec(["basic", 2, 16], ["bottleneck", 2, 32]), RICH])
def test_int8_stays_near_the_float_net(found: ModelSpec):
    model, _, _ = taken_apart(found)
    shown = images(found, 16)
    wanted = model(shown)
    with torch.no_grad():
        whole = module(rounded(found))(shown)
        half = module(rounded(found, activations="float"))(shown)
    assert float((whole - wanted).norm() / wanted.norm()) < 0.12
    assert float((half - wanted).norm() / wanted.norm()) < 0.03


def test_sums_too_large_for_float32_are_exact_all_the_same():
    found = Integer(rounded(spec(["single", 1, 256], image_size=4)))
    assert found.get_buffer("stem_conv:weight").dtype == torch.float32
    assert found.get_buffer("stages_0_0_body_conv1:weight").dtype == torch.float64
