"""Closed forms beside the counted net."""

import pytest
from hypothesis import given, settings

from snugnet import budget, counts, recipe
from specs import PLAIN, card, possible


def known(plain):
    """The same without what has no closed form."""
    stages = [{key: value for key, value in stage.items() if key in counts.STAGE} for stage in plain["stages"]]
    simple = {"block": "basic", "blocks": 1, "channels": 4}
    of = [stage.get("block", "basic") for stage in stages]
    stages = [
        simple if "even" in given or block not in counts.BLOCKS else stage
        for given, block, stage in zip(plain["stages"], of, stages, strict=True)
    ]
    stem = plain.get("stem", {})
    stem = stem if stem == "none" else {key: value for key, value in stem.items() if key in counts.STEM}
    rest = {key: value for key, value in plain.items() if key != "skips"}
    return {**rest, "stages": stages, **({"stem": stem} if stem else {})}


PRICED = PLAIN.map(known).map(possible).filter(lambda found: found is not None and counts.unknown(found) is None)


def agrees(model):
    """Every measure that has a closed form, to the unit."""
    made = card(model)
    cost, sums = budget.price(made), counts.Forms(model).whole()
    assert (sums.params, sums.macs, sums.peak) == (cost.params, cost.macs, cost.peak_activation_bytes)
    assert sums.size_mb == cost.size_mb
    assert counts.file_bytes(made, sums) == cost.bytes


@given(PRICED)
@settings(max_examples=60, deadline=None)
def test_closed_forms_are_what_the_net_costs(model):
    agrees(model)


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_of_every_recipe_that_has_them(name):
    experiment = recipe.load(name).experiment
    if counts.unknown(experiment.model) is None:
        agrees(experiment.model)
