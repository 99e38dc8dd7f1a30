"""Every built-in recipe, by glob, and the nets of the papers."""

from pathlib import Path

import pytest

import snugnet
from snugnet import budget, pipeline, recipe
from snugnet.models.resnet import build_meta
from specs import spec

NAMES = recipe.builtin_names()

PUBLISHED = {  # parameters as the papers' nets have them
    "baseline/resnet18": 11_173_962,
    "avvari24/res24-128-100-164-200": 4_978_810,
    "durga25/narrow-resnet18": 2_797_610,
    "patil25/resnetsmall": 4_754_218,
    "aswani22/row3-final": 4_997_194,
}
BASIC = {  # channels, blocks of nets of the common form that no recipe has yet
    4_908_434: ((128, 100, 160, 200), (3, 3, 3, 3)),
    4_969_776: ((138, 100, 204, 190), (3, 3, 2, 3)),
    4_988_256: ((94, 192, 120, 200), (3, 3, 2, 3)),
    4_997_074: ((136, 100, 188, 204), (3, 3, 2, 3)),
    5_634_018: ((136, 100, 188, 204), (3, 3, 3, 3)),
    5_326_506: ((32, 64, 128, 256), (3, 4, 6, 3)),
    4_623_178: ((64, 128, 256), (3, 4, 3)),
    6_412_362: ((64, 128, 128, 256), (3, 4, 6, 3)),
    701_466: ((16, 32, 64, 128), (2, 2, 2, 2)),
    4_883_626: ((32, 64, 128, 256), (3, 6, 4, 3)),
}
ASWANI = {  # stem kernel, stem channels, stages
    4_895_114: (3, 128, [["basic", 2, 128], ["basic", 2, 256], ["bottleneck", 5, 256], ["bottleneck", 6, 512]]),
    4_901_258: (5, 128, [["basic", 2, 128], ["basic", 2, 256], ["bottleneck", 5, 256], ["bottleneck", 6, 512]]),
    4_841_586: (5, 128, [["basic", n, 128] for n in (1, 2, 2, 2)] + [["basic", 2, 196]] * 2),
    4_917_578: (3, 64, [["basic", 3, 64], ["basic", 5, 128], ["bottleneck", 9, 256], ["bottleneck", 9, 512]]),
    4_902_794: (3, 128, [["bottleneck", n, c] for n, c in ((2, 128), (6, 256), (6, 512), (2, 1024))]),
}


def test_the_glob_finds_every_recipe():
    root = Path(snugnet.__file__).parent / "recipes"
    assert sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.toml")) == NAMES
    assert set(PUBLISHED) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_priced_and_fits_its_own_budget(name):
    loaded = recipe.load(name)
    experiment = loaded.experiment
    cost = budget.price(pipeline.planned_card(experiment))
    budget.check(cost, experiment.budget, name)
    assert cost.params == PUBLISHED.get(name, cost.params)
    assert experiment.expect is None or experiment.expect.params == cost.params
    assert experiment.expect is None or experiment.expect.bytes in (None, cost.bytes)
    assert all((experiment.purpose, experiment.source, experiment.hardware, experiment.time))
    assert experiment.command == f"snug train {name}"
    assert experiment.name == name


@pytest.mark.parametrize("name", NAMES)
def test_what_a_paper_prints_gates_nothing(name):
    plain = recipe.load(name).experiment
    lied = recipe.load(name, ["published.accuracy=0.01", 'published.params="3"'])
    assert lied.experiment.sha256 == plain.sha256
    assert lied.experiment.model_copy(update={"published": None}) == plain.model_copy(update={"published": None})


@pytest.mark.parametrize(("params", "net"), BASIC.items())
def test_nets_of_the_common_form(params, net):
    channels, blocks = net
    stages = [["basic", count, width] for width, count in zip(channels, blocks, strict=True)]
    assert budget.count_params(build_meta(spec(*stages))) == params


def test_a_pool_that_leaves_2x2_makes_the_classifier_larger():
    stages = [["basic", 3, 64], ["basic", 4, 128], ["basic", 3, 256]]
    assert budget.count_params(build_meta(spec(*stages, head={"kernel": 4}))) == 4_630_858


@pytest.mark.parametrize(("params", "net"), ASWANI.items())
def test_nets_of_aswani22(params, net):
    kernel, channels, stages = net
    found = spec(*stages, stem={"kernel": kernel, "channels": channels}, shortcut={"norm": False})
    assert budget.count_params(build_meta(found)) == params
