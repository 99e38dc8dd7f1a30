"""Study files: what they mean, and each way they cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_training import GRID, made

from snugnet.errors import RecipeError
from snugnet.search import study
from snugnet.search.designs import design


def refused(folder: Path, *changes: tuple[str, str]) -> str:
    with pytest.raises(RecipeError) as caught:
        made(folder, GRID, *changes)
    return str(caught.value)


LR = '"train.optimizer.lr" = [0.1, 0.3]'


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            LR,
            '"train.optimizer.lrr" = [0.1]',
            "study.toml:7: space.train.optimizer.lrr: train.optimizer.lrr: unknown key, did you mean 'lr'?",
        ),
        (
            LR,
            '"train.optimizer.lr" = [0.1, 300]',
            "space.train.optimizer.lr: train.optimizer.lr: must be less than or equal to 100; got 300",
        ),
        (LR, '"train.epochs.x" = [1]', "train.epochs is a value, it has no key 'x'"),
        (LR, '"model.stages.3.channels" = [1]', "'3' must be the number of an item, 0 to 0"),
        (
            LR,
            '"train.epochs" = [1]',
            "study.toml:7: space.train.epochs: is no part of a design; give epochs of the study",
        ),
        (LR, '"budget.params" = [1]', "space.budget.params: is no part of a design; give [budget] of the study"),
        (LR, '"train.optimizer.lr" = []', "space.train.optimizer.lr.choices: must have at least 1 item; got 0"),
        (
            LR,
            '"train.optimizer.lr" = { from = 0.1, too = 1 }',
            "space.train.optimizer.lr.too: unknown key, did you mean 'to'?",
        ),
        (
            LR,
            '"train.optimizer.lr" = { from = 0.1, to = 1 }',
            "study.toml:7: space.train.optimizer.lr: a grid needs step or points",
        ),
        (
            'method = "grid"',
            'method = "gird"',
            "study.toml:4: method.name: must be one of grid, random, tpe, nsga2, rungs; got "
            "'gird', did you mean 'grid'?",
        ),
        ('method = "grid"', 'method = "random"', "study: trials or time must be given, or the search has no end"),
        (
            'method = "grid"',
            'method = { name = "grid", keep = 0.5 }',
            "method: grid does not read keep; it reads nothing",
        ),
        (
            'method = "grid"',
            'trials = 2\nmethod = { name = "rungs" }',
            "method: rungs needs epochs, those of each rung",
        ),
        (
            'epochs = 3\nmethod = "grid"',
            'trials = 2\nmethod = { name = "rungs", epochs = [3, 2] }',
            "method: the epochs of the rungs must be above 0 and rise; got [3, 2]",
        ),
        (
            'method = "grid"',
            'trials = 2\nmethod = { name = "rungs", epochs = [1, 2] }',
            "epochs: method.epochs says those of each rung; leave epochs out",
        ),
        (
            "epochs = 3",
            'objectives = ["acuracy"]',
            "study.toml:3: objectives.0: must be one of accuracy, latency, params",
        ),
        ("epochs = 3", 'objectives = ["params", "params"]', "objectives: each objective must be named once"),
        ("epochs = 3", "epoch = 3", "study.toml:3: epoch: unknown key, did you mean 'epochs'?"),
        ("epochs = 3", 'time = "2 weeks"', "study.toml:3: time: a duration must be a number"),
        ("epochs = 3", "budget = { parms = 3 }", "study.toml:3: budget.parms: unknown key, did you mean 'params'?"),
        ("epochs = 3", 'set = { "train.lr" = 3 }', "--set: train.lr: unknown key"),
        (
            "epochs = 3",
            'set = { "data.train_on" = "all" }',
            "tiny.toml trains on all images, so there is no val to choose by",
        ),
        ("epochs = 3", "epochs = ", "study.toml: not TOML: "),
        ('"tiny.toml"', '"teeny.toml"', "teeny.toml: neither a built-in recipe nor a file"),
        (GRID[GRID.index("[space]") :], "[space]", "space: must have at least 1 item; got 0"),
        (GRID[GRID.index("[space]") :], "", "space: missing; it must be given"),
    ],
)
def test_a_bad_study_is_one_clear_error(tmp_path: Path, before: str, after: str, words: str):
    assert words in refused(tmp_path, (before, after))


def test_all_problems_are_told_at_once(tmp_path: Path):
    said = refused(tmp_path, (LR, '"train.lr" = [1]\n"model.wdith" = [1]'))
    assert [line.split(": ")[0] for line in said.splitlines()] == ["study.toml:7", "study.toml:8"]


def test_the_base_is_changed_and_seeded_by_the_study(tmp_path: Path):
    found = made(tmp_path, GRID, ("epochs = 3", 'epochs = 7\nseed = 5\nset = { "model.activation" = "silu" }'))
    base = found.base.experiment
    assert (base.train.epochs, base.seed, base.model.activation) == (7, 5, "silu")
    experiment = found.recipe(found.grid[0]).experiment
    assert (experiment.model.stages[0].channels, experiment.train.optimizer.lr) == (4, 0.1)


def test_keys_may_be_written_as_tables(tmp_path: Path):
    quoted = made(tmp_path)
    nested = GRID[: GRID.index("[space]")] + "[space.model.stages.0]\nchannels = [4, 6, 8]\n"
    nested += "[space.train.optimizer]\nlr = [0.1, 0.3]\n"
    assert made(tmp_path, nested).digest == quoted.digest


def test_a_value_may_be_possible_with_another_alone(tmp_path: Path):
    """nesterov needs momentum: alone, the base has none."""
    found = made(
        tmp_path, GRID, ("epochs = 3", 'set = { "train.optimizer.momentum" = 0.0 }'),
        (LR, '"train.optimizer.nesterov" = [false, true]\n"train.optimizer.momentum" = [0.0, 0.9]'),
    )  # fmt: skip
    states = [design(found, number, point).state for number, point in enumerate(found.grid[:4])]
    assert sorted(states) == ["invalid", "open", "open", "open"]


def test_what_makes_it_the_same_study(tmp_path: Path):
    digest = made(tmp_path).digest
    assert made(tmp_path, GRID, ("epochs = 3", 'epochs = 3\ntrials = 4\ntime = "1h"\npurpose = "x"')).digest == digest
    for change in (("[4, 6, 8]", "[4, 6]"), ("epochs = 3", "epochs = 4"), ("epochs = 3", "epochs = 3\nseeds = 2")):
        assert made(tmp_path, GRID, change).digest != digest


def test_the_budget_of_the_study_is_in_place_of_the_base_s(tmp_path: Path):
    found = made(tmp_path, GRID, ("epochs = 3", "epochs = 3\nbudget = { params = 700 }"))
    trials = [design(found, number, point) for number, point in enumerate(found.grid)]
    assert [(trial.state, trial.costs["params"]) for trial in trials[::2]] == [
        ("open", 398),
        ("over", 808),
        ("over", 1362),
    ]
    assert trials[2].excess == {"params": 108}


def test_built_in_studies_load():
    assert "digits" in study.builtin_names()
    for name in study.builtin_names():
        assert study.load(name).config.purpose
