"""Every design of a family within a budget."""

from itertools import pairwise

import numpy as np
import pytest

from snugnet import budget, counts, explore, pipeline, recipe
from snugnet.budget import Budget
from snugnet.compress.config import Quantization
from snugnet.errors import OverBudget, RecipeError
from snugnet.explore import Designs, Family, by_rule
from snugnet.models.spec import ModelSpec
from specs import card, spec

SMALL = card(spec(["basic", 1, 8], ["basic", 1, 16], image_size=8, in_channels=1))


def planned(name="snugnet/quickstart", *overrides):
    return pipeline.planned_card(recipe.load(name, overrides).experiment)


def designs(**given):
    count = len(given["macs"])
    stages = {"widths": np.zeros((2, count)), "blocks": np.ones((2, count))}
    plain = {name: np.zeros(count) for name in ("kinds", "params", "depth", "growth")}
    return Designs(**{name: np.array(value) for name, value in {**plain, **stages, **given}.items()})


def test_the_rule_takes_macs_then_parameters_then_depth_then_balance():
    some = designs(
        macs=[100, 98, 98, 98, 60, 98],
        params=[50, 100, 99, 98, 100, 97],
        depth=[8, 8, 10, 26, 8, 20],
        growth=[0.0, 0.0, 0.0, 0.2, 0.0, 0.1],
    )
    # half the parameters come after them; 26 deep is no better than 20, and the sixth is nearer to doubling
    assert by_rule(some, 9).tolist() == [5, 3, 2, 1, 0, 4]
    assert by_rule(some, 2).tolist() == [5, 3]


@pytest.mark.parametrize(
    "limits",
    [{"params": "20k"}, {"params": "20k", "macs": "400k"}, {"bytes": "30kB"}, {"size_mb": 0.05},
     {"peak_activation_bytes": "8kB", "params": "30k"}, {"params": 1500}],
)  # fmt: skip
def test_what_is_found_fits_and_is_a_valid_net(limits, monkeypatch):
    monkeypatch.setattr(explore, "WIDEST", 64)
    held_to = Budget(**limits)
    found = explore.explore(SMALL, held_to, shown=2)
    assert 1 <= len(found.ranked) <= 2
    for each in found.ranked:
        assert ModelSpec.parse(each.model.plain()) == each.model
        budget.check(budget.price(each), held_to)
    assert found.priced >= found.fit >= len(found.ranked)


def test_arrays_price_each_design_as_it_is():
    """Parameters and MACs of the arrays, and what is left out, against the forms of each design alone."""
    held_to = Budget(params="4k", macs="120k")
    family = Family(SMALL, held_to)
    widths = family.widths(((24, 8),))
    assert widths.T.tolist() == [[8, 16], [16, 24]]
    seen = {}
    for kind, block in enumerate(explore.KINDS):
        for part in family.within(kind, family.shallow(block, widths)):
            for place in range(len(part)):
                key = (block, tuple(part.widths[:, place].tolist()), tuple(part.blocks[:, place].tolist()))
                seen[key] = (int(part.params[place]), int(part.macs[place]))
    for block in explore.KINDS:
        for channels in ((8, 16), (16, 24)):
            for blocks in ((1, 1), (1, 3), (2, 1), (8, 8)):
                cost = counts.Forms(family.card_of(block, channels, blocks).model).whole()
                fits = cost.params <= held_to.params and cost.macs <= held_to.macs
                assert seen.get((block, channels, blocks)) == ((cost.params, cost.macs) if fits else None)
    assert (1, 4) not in {key[2] for key in seen}  # more than two blocks apart


def test_bytes_lie_between_what_the_arrays_say():
    family = Family(SMALL, Budget(bytes="1MB"))
    widths = family.widths(((24, 8),))
    for block in ("basic", "depthwise"):
        parts = family._parts(block, widths)
        low, high = family._bytes(explore.Sums(**dict(zip(explore.ROWS, parts.base, strict=True))), parts.card_text)
        for place, channels in enumerate(widths.T.tolist()):
            exact = budget.measure(family.card_of(block, tuple(channels), (1, 1)), "bytes")
            assert low[place] <= exact <= high[place] < low[place] + 500


def test_a_floor_is_kept_too():
    window = Budget(params=5000, floor={"params": 4800.0})
    assert all(4800 <= budget.measure(each, "params") <= 5000 for each in explore.explore(SMALL, window).ranked)


def test_the_family_keeps_the_form_of_the_recipe():
    base = planned()
    found = explore.explore(base, Budget(params="60k", macs="5M"), shown=1).ranked[0]
    assert found.model.stem == base.model.stem
    assert [stage.entry for stage in found.model.stages] == [stage.entry for stage in base.model.stages]
    widths = [stage.channels for stage in found.model.stages]
    assert all(width % 8 == 0 for width in widths)
    assert all(1.5 <= wide / narrow <= 2.5 for narrow, wide in pairwise(widths))


def test_another_rule_decides():
    smallest = explore.explore(SMALL, Budget(params="5k"), lambda all_, count: np.argsort(all_.params)[:count], shown=1)
    ours = explore.explore(SMALL, Budget(params="5k"), shown=1)
    assert budget.measure(smallest.ranked[0], "params") < budget.measure(ours.ranked[0], "params")


def test_nothing_fits():
    with pytest.raises(OverBudget, match=r"^none of [\d,]+ designs is within the budget; give more, or --like RECIPE"):
        explore.explore(SMALL, Budget(params=3))


@pytest.mark.parametrize(
    ("limits", "quantization", "words"),
    [
        ({"ram_bytes": "64kB"}, None, r"^--budget ram_bytes: memory as C has no closed form to search by; give --like"),
        ({"bytes": "64kB"}, Quantization(), r"^--budget bytes: the file of a quantised net has no closed form"),
    ],
)
def test_limits_without_closed_forms(limits, quantization, words):
    with pytest.raises(RecipeError, match=words):
        explore.explore(SMALL.model_copy(update={"quantization": quantization}), Budget(**limits))


def test_a_family_without_closed_forms():
    skipping = card(spec(["basic", 2, 8], image_size=8, skips=[{"from": 1, "to": 2}]))
    with pytest.raises(RecipeError, match=r"^model.skips: it has no closed form of its cost; leave it out, or"):
        explore.explore(skipping, Budget(params="10k"))
