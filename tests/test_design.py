import pytest

from snugnet import budget, design, pipeline, recipe
from snugnet.budget import Budget
from snugnet.errors import OverBudget, RecipeError
from snugnet.models.spec import ModelSpec
from specs import card, spec

SMALL = card(spec(["single", 1, 4], image_size=8))


def parse(text):
    return design.parse_budget(text, lambda name: budget.price({"small": SMALL}[name]))


def test_budgets_as_people_write_them():
    assert parse("params=5M, bytes=1MB,macs=40M,size_mb=0.5MB,peak_activation=64KiB").limits() == {
        "params": 5_000_000, "bytes": 1_000_000, "macs": 40_000_000, "size_mb": 0.5, "peak_activation_bytes": 65_536
    }  # fmt: skip
    assert parse("params=5M").floor is None
    assert parse("size_mb=0.5").size_mb == 0.5


@pytest.mark.parametrize("text", ["params=small±2%", "params=small+-2%", "params = small ± 0.02"])
def test_a_window_around_another_design(text):
    window = parse(text)
    assert window.params == 324  # 318 * 1.02 is 324.36
    assert window.floor == {"params": pytest.approx(318 * 0.98)}
    cost = budget.price(SMALL)
    budget.check(cost, window)
    narrow = budget.price(card(SMALL.model.replaced(width=0.75)))
    with pytest.raises(OverBudget, match=r"^the design is 214 parameters, 98 under the floor of 312$"):
        budget.check(narrow, window)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("parms=5M", "--budget parms=5M: must be NAME=LIMIT with NAME one of params, macs, bytes, size_mb, "
         "peak_activation_bytes, ram_bytes, did you mean 'params'?"),
        ("params", "--budget params: must be NAME=LIMIT with NAME one of params, macs, bytes, size_mb, "
         "peak_activation_bytes, ram_bytes, did you mean 'params'?"),
        ("params=5X", "--budget: a count must be a number, or a number with one of k, K, M, G, T; got '5X'"),
        ("bytes=5M", "--budget: a size must be a number, or a number with one of B, kB, KB, MB, GB, KiB, MiB, GiB; "
         "got '5M'"),
        ("size_mb=5kB", "--budget: a size must be a number, or a number with one of MB; got '5kB'"),
        ("params=", "--budget: a count must be a number, or a number with one of k, K, M, G, T; got ''"),
        ("params=-5", "--budget: a count must be a number, or a number with one of k, K, M, G, T; got '-5'"),
        ("params=0", "--budget: params: must be greater than 0; got 0"),
        ("params=small±x", "--budget params=small±x: a tolerance must be a number, or a number with one of %; got 'x'"),
        ("params=5M,params=4M", "--budget params=4M: params has a limit already; give one for each measure"),
        ("", "--budget: must be NAME=LIMIT, one or more with commas between, for example params=5M"),
        (" , ", "--budget: must be NAME=LIMIT, one or more with commas between, for example params=5M"),
    ],
)  # fmt: skip
def test_what_is_no_budget(text, words):
    with pytest.raises(RecipeError) as caught:
        parse(text)
    assert str(caught.value) == words


def test_the_multiplier_suggested_for_resnet18():
    planned = pipeline.planned_card(recipe.load("baseline/resnet18").experiment)
    limits = Budget(params="5M")
    found = design.suggestion(planned, limits)
    assert (found["width"], found["set"]) == (0.668, "model.width=0.668")

    def params(thousandths):
        return budget.measure(design.widened(planned, thousandths / 1000), "params")

    assert found["params"] == params(668) <= 5_000_000
    assert all(params(n) <= 5_000_000 for n in range(640, 669))
    assert all(params(n) > 5_000_000 for n in range(669, 690))


def test_no_multiplier_fits():
    assert design.suggestion(SMALL, Budget(params=3)) is None
    with pytest.raises(
        OverBudget, match=r"^snugnet/digits: even at width 0.001 it is over the budget; choose a shallo"
    ):
        design.widest(recipe.load("snugnet/digits").experiment, SMALL, Budget(params=3))


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("baseline/resnet18", {"params": "5M"}),
        ("snugnet/quickstart", {"params": "137k"}),
        ("snugnet/quickstart", {"params": "2M"}),
        ("snugnet/quickstart", {"bytes": "1MB"}),
        ("durga25/narrow-resnet18", {"bytes": "500kB"}),
        ("patil25/resnetsmall", {"size_mb": 0.5}),
        ("snugnet/digits", {"params": "1M", "macs": "30M"}),
        ("snugnet/digits", {"params": "25k"}),
    ],
)
def test_the_widest_design_fits_and_leaves_less_than_a_hundredth(name, limits):
    experiment = recipe.load(name).experiment
    planned, held_to = pipeline.planned_card(experiment), Budget(**limits)
    found = design.widest(experiment.model_copy(update={"model": planned.model}), planned, held_to)
    assert ModelSpec.parse(found.model.plain()) == found.model  # valid, although made by copying
    cost = budget.price(planned.model_copy(update={"model": found.model}))
    budget.check(cost, held_to)
    assert min(1 - getattr(cost, measure) / limit for measure, limit in held_to.limits().items()) < 0.01
    assert (found.model.width, found.expect, found.published, found.budget) == (1.0, None, None, held_to)
    assert (found.train, found.data) == (experiment.train, experiment.data)
    last = found.model.stages[-1]
    wider = (*found.model.stages[:-1], last.model_copy(update={"channels": last.channels + 1}))
    more = budget.price(planned.model_copy(update={"model": found.model.model_copy(update={"stages": wider})}))
    assert budget.excess(more, held_to)
