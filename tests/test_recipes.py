"""Every built-in recipe, by glob, and the nets of the papers."""

import math
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import snugnet
from snugnet import artifact, budget, lineage, nets, pipeline, recipe
from snugnet.budget import Budget
from snugnet.data.config import Normalization
from snugnet.data.images import DataInfo, Images
from snugnet.data.splits import Splits
from snugnet.device import Compute
from snugnet.models.resnet import build, build_meta
from snugnet.train import loop

NAMES = recipe.builtin_names()

PUBLISHED = tomllib.loads((Path(__file__).parent / "published.toml").read_text())
CHILDREN = {name: begun for name in NAMES if (begun := recipe.load(name).experiment.train.init_from)}
SMALL = ["model.width=0.1", "train.epochs=1", "train.batch_size=4", "train.precision=fp32"]
OWN = {name for name in NAMES if name.startswith(("snugnet/", "ablations/"))}


def test_the_glob_finds_every_recipe():
    root = Path(snugnet.__file__).parent / "recipes"
    assert sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.toml")) == NAMES
    assert set(PUBLISHED["params"]) == set(NAMES) - OWN
    assert set(PUBLISHED["size_mb"]) == {name for name in NAMES if name.startswith("tu24/")}


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_priced_and_fits_its_own_budget(name):
    loaded = recipe.load(name)
    experiment = loaded.experiment
    cost = budget.price(pipeline.planned_card(experiment))
    budget.check(cost, experiment.budget, name)
    assert cost.params == PUBLISHED["params"].get(name, cost.params)
    assert round(cost.size_mb, 6) == PUBLISHED["size_mb"].get(name, round(cost.size_mb, 6))
    assert experiment.expect.params == cost.params  # `snug recipes` reads it there
    assert experiment.expect is None or experiment.expect.bytes in (None, cost.bytes)
    assert all((experiment.purpose, experiment.source, experiment.hardware, experiment.time))
    assert experiment.command == f"snug train {name}"
    assert experiment.name == name


@pytest.mark.parametrize("name", NAMES)
def test_what_a_paper_prints_gates_nothing(name):
    plain = recipe.load(name).experiment
    lies = ["accuracy=0.01", 'params="3"', "ms=0.1", "size_mb=0.1", "train_accuracy=0.1"]
    lied = recipe.load(name, [f"published.{lie}" for lie in lies])
    assert lied.experiment.sha256 == plain.sha256
    assert lied.experiment.model_copy(update={"published": None}) == plain.model_copy(update={"published": None})


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_size_is_what_we_count(name):
    """To the digits that are printed."""
    loaded = recipe.load(name).experiment
    if loaded.published and (printed := loaded.published.size_mb):
        digits = len(str(printed).partition(".")[2])
        assert round(budget.price(pipeline.planned_card(loaded)).size_mb, digits) == printed


def test_what_tu24_prints_is_in_its_fields():
    for name in (name for name in NAMES if name.startswith("tu24/") and "delay" not in name):
        printed = recipe.load(name).experiment.published.plain()
        assert printed.keys() == {"accuracy", "train_accuracy", "params", "size_mb", "ms", "note"}


@pytest.mark.parametrize("variant", PUBLISHED["variants"], ids=lambda variant: variant["recipe"])
def test_variants_that_a_paper_leaves_open(variant):
    found = recipe.load(variant["recipe"], variant["set"]).experiment.model
    assert budget.count_params(build_meta(found)) == variant["params"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_over_five_million_carries_no_budget(name):
    experiment = recipe.load(name).experiment
    limit = experiment.budget.params or 0
    assert limit <= 5_000_000
    assert experiment.expect is None or experiment.expect.params <= 5_000_000 or experiment.budget == Budget()


def shapes(model):
    return {key: value.shape for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", CHILDREN)
def test_a_recipe_begins_with_the_net_of_a_recipe(name):
    child, parent = recipe.load(name).experiment, recipe.load(CHILDREN[name]).experiment
    assert shapes(build_meta(child.model)) == shapes(build_meta(parent.model))


def shipped_untrained(name, file):
    """As a training of that recipe ships it."""
    card = pipeline.planned_card(recipe.load(name, SMALL).experiment)
    torch.manual_seed(7)
    artifact.write(file, card, build(card.model))
    return file


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains_two_steps_and_is_judged(name, tmp_path):
    """At a tenth of its width, on random images."""
    parent, begins_with = tmp_path / "parent.safetensors", []
    if name in CHILDREN:
        begins_with = [f"train.init_from={shipped_untrained(CHILDREN[name], parent)}"]
    experiment = recipe.load(name, SMALL + begins_with).experiment
    found = lineage.find(experiment)
    experiment = experiment.model_copy(update={"parent": found and found.parent})
    spec, cpu = experiment.model, torch.device("cpu")
    numbers = torch.Generator().manual_seed(0)
    shape = (8, spec.in_channels, spec.image_size, spec.image_size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=numbers)
    images = Images(pixels, torch.arange(8) % spec.classes, None)
    constants = Normalization(mean=(0.5,) * spec.in_channels, std=(0.25,) * spec.in_channels)
    data = Splits(
        DataInfo("random", ("x",) * spec.classes, spec.in_channels, spec.image_size), images, images, constants
    )
    model = nets.initial_model(experiment, data)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert all(torch.equal(value, before[key]) for key, value in (load_file(parent) if found else {}).items())
    train, val = pipeline.loaders(experiment, data, cpu)
    *steps, last = loop.fit(model, train, val, experiment.train, Compute(cpu, "fp32"), None)
    assert len(steps) == 2
    assert all(math.isfinite(value) for value in (last.train_loss, last.val_loss, last.val_accuracy))
    frozen = {"stem.conv.weight"} if spec.whitens else set()
    if not spec.norm.learn_scale:
        frozen |= {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {key for key, value in model.named_parameters() if torch.equal(value, before[key])} <= frozen
