"""What comes next, by what is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_training import GRID, made

from snugnet.search import methods
from snugnet.search.methods import Known, importances, propose
from snugnet.search.store import Trial
from snugnet.search.study import Study

SPACE = """[space]
"model.stages.0.channels" = { from = 4, to = 40 }
"train.optimizer.name" = ["sgd", "adamw"]
"train.optimizer.lr" = { from = 0.001, to = 1.0, log = true }
"train.optimizer.momentum" = { choices = [0.5, 0.9], when = { "train.optimizer.name" = "sgd" } }
"train.augment" = [[], [{ op = "flip" }]]
"""


def asked(folder: Path, method: str, space: str = SPACE) -> Study:
    pytest.importorskip("optuna")
    head = GRID[: GRID.index("[space]")].replace('method = "grid"', f"trials = 9\nmethod = {method}")
    return made(folder, head + space)


def value(point: dict[str, object]) -> dict[str, float]:
    return {"accuracy": 1 - abs(float(str(point["model.stages.0.channels"])) - 30) / 40}


def told(study: Study, count: int, limit: float = 1e9) -> list[Known]:
    """So many trials, one after the other; those wider than `limit` are over the budget."""
    found: list[Known] = []
    for number in range(count):
        proposal = propose(study, number, found)
        assert proposal is not None
        width = proposal.point["model.stages.0.channels"]
        over = {"params": width - limit} if width > limit else {}
        trial = Trial(
            number,
            proposal.point,
            "over" if over else "open",
            str(number),
            {"params": 1.0 * width},
            over,
            proposal.memory,
        )
        found.append(Known(trial, None if over else value(proposal.point)))
    return found


@pytest.mark.parametrize("method", ["random", "tpe", "nsga2"])
def test_the_same_is_asked_and_the_same_is_answered(tmp_path: Path, method: str):
    study = asked(tmp_path, '{ name = "nsga2", population = 4 }' if method == "nsga2" else f'"{method}"')
    first, again = told(study, 14), told(study, 14)
    assert [each.trial for each in first] == [each.trial for each in again]
    for each in first:
        point = each.trial.point
        assert ("train.optimizer.momentum" in point) == (point["train.optimizer.name"] == "sgd")
        assert point["train.augment"] in ([], [{"op": "flip"}])
        study.recipe(point)


def test_tpe_learns_where_the_good_ones_are(tmp_path: Path):
    study = asked(tmp_path, '{ name = "tpe", startup = 8 }')
    widths = [each.trial.point["model.stages.0.channels"] for each in told(study, 24)]
    begins, ends = widths[:8], widths[16:]
    assert sum(abs(width - 30) for width in ends) < sum(abs(width - 30) for width in begins) / 2


def test_optuna_is_told_how_far_a_design_is_over_the_budget(tmp_path: Path):
    limited = asked(tmp_path, '"tpe"\nbudget = { params = 400 }')
    point = limited.space.drawn(0, 0)
    fits = Trial(0, point, "open", "a", {"params": 398})
    over = Trial(1, point, "over", "b", {"params": 500}, {"params": 100})
    known = [Known(fits, {"accuracy": 0.9}), Known(over, None)]
    told_of = [methods._told(pytest.importorskip("optuna"), limited, each) for each in known]
    assert [each.constraints for each in told_of] == [{"params": 0.0}, {"params": 0.25}]
    assert [each.values for each in told_of] == [[0.9], [0.0]]


def test_nsga2_has_generations(tmp_path: Path):
    study = asked(tmp_path, '{ name = "nsga2", population = 4 }')
    generations = [next(iter(each.trial.memory.values())) for each in told(study, 12)]
    assert generations == [0] * 4 + [1] * 4 + [2] * 4


def test_a_grid_ends(tmp_path: Path):
    study = made(tmp_path)
    points = [found.point for number in range(6) if (found := propose(study, number, []))]
    assert points == list(study.grid)
    assert propose(study, 6, []) is None


def test_what_matters_is_found(tmp_path: Path):
    study = asked(tmp_path, '"random"')
    known = told(study, 30)
    shares = importances(study, known)
    assert max(shares, key=lambda key: shares[key]) == "model.stages.0.channels"
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(study, known[:7]) == {}
