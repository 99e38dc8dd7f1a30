"""A net as a list of operations gives what the net gives."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from nets import RICH, images, taken_apart

from snugnet.compress.execute import Folded, run
from snugnet.compress.graph import structure
from snugnet.models.spec import ModelSpec
from specs import SPECS, spec


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SPECS)
def test_the_folded_net_gives_what_the_net_gives(found: ModelSpec):
    model, graph, weights = taken_apart(found)
    shown = images(found)
    torch.testing.assert_close(Folded(graph, weights)(shown), model(shown), rtol=1e-3, atol=1e-4)


def test_a_net_of_many_parts():
    model, graph, weights = taken_apart(RICH)
    shown = images(RICH)
    torch.testing.assert_close(Folded(graph, weights)(shown), model(shown), rtol=1e-4, atol=1e-5)
    assert {node.kind for node in graph.nodes} == {
        "input", "conv", "linear", "add", "mul", "cat", "max_pool", "avg_pool", "flatten", "map"
    }  # fmt: skip


def test_norms_and_cuts_join_what_stands_before_them():
    graph = structure(spec(["basic", 1, 4], ["basic", 1, 8], image_size=8))
    assert [(node.kind, node.function) for node in graph.nodes] == [
        ("input", ""), ("conv", "relu"), ("conv", "relu"), ("conv", ""), ("add", "relu"),
        ("conv", "relu"), ("conv", ""), ("conv", ""), ("add", "relu"), ("avg_pool", ""), ("flatten", ""),
        ("linear", ""),
    ]  # fmt: skip
    assert all(node.layer and node.layer.norm for node in graph.nodes if node.kind == "conv")


def test_a_norm_without_a_convolution_of_its_own_scales_each_channel():
    graph = structure(spec(["preact", 1, 4], image_size=8))
    alone = [node for node in graph.nodes if node.layer and node.layer.conv is None]
    assert [(node.kind, node.groups, graph.weight_shape(node)) for node in alone] == [("conv", 4, (4, 1, 1, 1))]


def test_values_are_let_go_of():
    """As many are held at once as skips need, whatever the depth."""
    graph = structure(spec(["basic", 6, 4], image_size=8))
    held: list[int] = []
    alive: set[int] = set()

    class Counted:
        def __init__(self) -> None:
            alive.add(id(self))

        def __del__(self) -> None:
            alive.discard(id(self))

    def operation(*_: object) -> Counted:
        made = Counted()
        held.append(len(alive))
        return made

    run(graph, torch.empty(0), operation)  # type: ignore[arg-type]
    assert max(held) == 3
