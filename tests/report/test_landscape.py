"""All of the papers' rows, run or not, and the picture of accuracy against parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_up import body, entry
from snugnet import recipe
from snugnet.errors import DataError
from snugnet.report import landscape, reruns

LITERATURE = Path(__file__).parents[2] / "results" / "literature.toml"


def test_every_published_row_stands_with_ours_or_with_its_cost() -> None:
    ran = [entry(recipe="tu24/v3", test=0.70, seed=0), entry(recipe="tu24/v3", test=0.71, seed=1)]
    lines = body("tu24/v3*", *ran, kind="published")[2:]
    assert lines[0] == ("| `tu24/v3` | 136k | 70.39 | 70.50 ± 0.71 | +0.11 | 2 | 10 of 10 | 1 min 40 s | 2 cores |")
    assert [line.split(" | ")[3] for line in lines[1:]] == ["not run", "not run"]
    assert len(body("tu24/*", kind="published")) == 2 + sum(n.startswith("tu24/") for n in recipe.builtin_names())


def test_what_a_training_would_take() -> None:
    plain = recipe.load("durga25/narrow-resnet18", ["train.epochs=2"]).experiment
    whole = recipe.load("durga25/narrow-resnet18", ["train.epochs=2", "data.train_on=all"]).experiment
    assert reruns.training_flops(whole) == pytest.approx(reruns.training_flops(plain) / 0.9)
    sharp = recipe.load("durga25/narrow-resnet18", ["train.epochs=2", "train.optimizer.sam={}"]).experiment
    assert reruns.training_flops(sharp) == 2 * reruns.training_flops(plain)
    copied = recipe.load("tu24/v3").experiment
    assert copied.data.extra_copies is not None
    shown = reruns.training_flops(copied) / (6 * 1_643_496 * 10)
    assert shown == 50_000 + len(copied.data.extra_copies.classes) * (copied.data.extra_copies.each or 5_000)


def test_a_picture_knows_which_points_it_shows(tmp_path: Path) -> None:
    found = landscape.points([entry(), entry(test=None, recipe="snugnet/other")], LITERATURE)
    kinds = [point.kind for point in found]
    assert kinds.count(landscape.OURS) == 1
    assert kinds.count(landscape.PAPERS) > 20
    landscape.save(found, tmp_path / "accuracy.png")
    assert landscape.shown(tmp_path / "accuracy.png") == landscape.digest(found) != landscape.digest(found[1:])


def test_a_damaged_literature(tmp_path: Path) -> None:
    path = tmp_path / "literature.toml"
    path.write_text('[[net]]\nname = "x"\nparams = 0\naccuracy = 0.9\nsource = "y"\n')
    words = r"literature\.toml: net\.0\.params: Input should be greater than 0: restore it from version control$"
    with pytest.raises(DataError, match=words):
        landscape.points([], path)
