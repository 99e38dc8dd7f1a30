"""One arena for all values: what is alive never overlaps, and little is lost."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from hypothesis import HealthCheck, given, settings
from nets import RICH

from snugnet import budget, pipeline, recipe
from snugnet.budget import Budget
from snugnet.compress.graph import Graph, structure
from snugnet.compress.memory_plan import IN_PLACE, Plan, plan
from snugnet.errors import OverBudget, RecipeError
from specs import SPECS, card, spec


def check_nothing_alive_is_overwritten(graph: Graph, found: Plan) -> None:
    """Marks each byte with the value that was written there, and looks before each reading."""
    arena: list[str | None] = [None] * found.size_bytes
    for node in graph.nodes:
        for name in node.inputs:
            size = prod(graph.node(name).shape)
            held = set(arena[found.values[name] : found.values[name] + size])
            assert held == {name}, (node.name, name)
        if node.name in found.scratch:
            size = prod(graph.weight_shape(node)[1:])
            own = range(found.scratch[node.name], found.scratch[node.name] + size)
            assert own.stop <= found.size_bytes
            for name in node.inputs:
                assert not set(own) & set(_places(graph, found, name))
            if node.name in found.values:
                assert not set(own) & set(_places(graph, found, node.name))
            arena[own.start : own.stop] = [None] * size
        if node.name in found.values:
            if node.kind not in (*IN_PLACE, "flatten"):
                for name in node.inputs:
                    assert not set(_places(graph, found, name)) & set(_places(graph, found, node.name))
            places = _places(graph, found, node.name)
            assert places.stop <= found.size_bytes
            arena[places.start : places.stop] = [node.name] * len(places)


def _places(graph: Graph, found: Plan, name: str) -> range:
    return range(found.values[name], found.values[name] + prod(graph.node(name).shape))


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SPECS)
def test_what_is_read_is_what_was_written(found):
    graph = structure(found)
    made = plan(graph)
    check_nothing_alive_is_overwritten(graph, made)
    assert made.least_bytes <= made.size_bytes <= 1.2 * made.least_bytes


def test_a_net_of_many_parts():
    check_nothing_alive_is_overwritten(structure(RICH), plan(structure(RICH)))


def test_a_plan_by_hand():
    """Two 3x3 convolutions of 4 channels on 8x8, and the sum, which lies where one of its inputs lay."""
    graph = structure(spec(["basic", 1, 4], image_size=8))
    made = plan(graph)
    image, map_4, patch = 3 * 64, 4 * 64, 4 * 9
    assert made.size_bytes == made.least_bytes == 3 * map_4 + patch
    stem, one, two, joined = (made.values[node.name] for node in graph.nodes[1:5])
    assert joined in (stem, two)
    assert len({stem, one, two}) == 3
    assert image < map_4


@pytest.mark.parametrize(
    "name", ["tu24/v6", "tu24/alpha", "patil25/resnetsmall", "durga25/narrow-resnet18", "baseline/resnet18"]
)
def test_recipes_lose_nothing(name: str):
    made = plan(structure(pipeline.planned_card(recipe.load(name).experiment).model))
    assert made.size_bytes == made.least_bytes


def test_ram_is_a_measure_of_a_budget():
    found = card(spec(["basic", 1, 4], image_size=8))
    cost = budget.price(found)
    assert cost.ram_bytes == budget.measure(found, "ram_bytes") == 804
    budget.check(cost, Budget(ram_bytes=804))
    with pytest.raises(OverBudget, match=r"^the design is 804 B, 1 B over the budget of 803 B$"):
        budget.check(cost, Budget(ram_bytes="803B"))


def test_a_net_whose_arena_is_not_known():
    cost = replace(budget.price(card(spec(image_size=8))), ram_bytes=None)
    budget.check(cost, Budget(params="5M"))
    words = r"^budget: ram_bytes: it is known of nets that compressing can fold and integers compute, and this "
    with pytest.raises(RecipeError, match=words):
        budget.check(cost, Budget(ram_bytes="1MB"))
