from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from snugnet import judging, runs
from snugnet.data.images import Images
from snugnet.errors import ArtifactError, DataError, RecipeError


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def expecting(run: Path, **expect: Any) -> Path:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"expect": expect}))
    return run


@pytest.mark.parametrize("split", ["test", "val"])
def test_evaluating_again_gives_the_scores_of_the_run(run: Path, split: str):
    again = judging.evaluate(run, split)
    assert again.pop("split") == split
    assert again.pop("data") == "digits"
    assert again.pop("tta") is None
    assert json.loads(json.dumps(again)) == runs.read(run).summary["scores"][split]


def test_the_shipped_file_alone_gives_the_same_scores(run: Path, tmp_path: Path):
    alone = Path(shutil.move(run / "model.safetensors", tmp_path / "alone.safetensors"))
    (summary,) = [runs.read(run).summary]
    shutil.rmtree(run)
    again = judging.evaluate(alone, "test", "digits")
    assert json.loads(json.dumps(again)) == summary["scores"]["test"] | {"split": "test", "data": "digits", "tta": None}


def test_images_of_another_size_are_refused(run: Path):
    shipped = judging.artifact.read(run / "model.safetensors")
    images = Images(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), None)
    words = r"model.safetensors: takes images \(1, 8, 8\), but cifar10 has \(3, 32, 32\)$"
    with pytest.raises(ArtifactError, match=words):
        judging.check_compatible(shipped, images, shipped.card.classes, "cifar10")


def test_other_classes_are_refused(run: Path):
    shipped = judging.artifact.read(run / "model.safetensors")
    images = Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), None)
    words = r"knows the classes 0, 1, 2, 3, 4\.\.\., but pets has cat, dog\.\.\.; labels would not mean the same$"
    with pytest.raises(ArtifactError, match=words):
        judging.check_compatible(shipped, images, ("cat", "dog"), "pets")


def test_an_empty_split(run: Path):
    config = json.loads((run / "config.json").read_text())
    config["data"]["val_fraction"] = 0.0
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"^digits: its val split is empty; choose another with --split$"):
        judging.evaluate(run, "val")


@pytest.mark.parametrize("judge", [judging.verify, lambda path: judging.evaluate(path, "test")])
def test_an_unfinished_run_is_not_judged(run: Path, judge: Any):
    (run / "summary.json").unlink()
    with pytest.raises(ArtifactError, match=r"run: is not finished; finish it with `snug resume .*run`$"):
        judge(run)


def test_a_recipe_that_expects_nothing(run: Path):
    with pytest.raises(RecipeError, match=r"its recipe has no \[expect\] table; there is nothing to verify$"):
        judging.verify(run)


def test_what_is_expected_is_held_to_exactly(run: Path):
    summary = runs.read(run).summary
    facts = {name: summary[name] for name in ("params", "bytes", "epochs")}
    assert [check["ok"] for check in judging.verify(expecting(run, **facts))] == [True] * 3
    wrong = {name: value + 1 for name, value in facts.items()}
    assert [check["ok"] for check in judging.verify(expecting(run, **wrong))] == [False] * 3


@pytest.mark.parametrize(
    ("std", "below", "ok"),
    [(0.01, 0.0299, True), (0.01, 0.0301, False), (None, 0.0089, True), (None, 0.0091, False), (0.0, 0.0089, True)],
)
def test_accuracy_may_lie_three_spreads_below(run: Path, std: float | None, below: float, ok: bool):
    accuracy = runs.read(run).summary["test"] + below
    expect = {"accuracy": accuracy} | ({} if std is None else {"accuracy_std": std})
    (check,) = judging.verify(expecting(run, **expect))
    assert (check["name"], check["ok"]) == ("test accuracy", ok)


def test_no_test_split_falls_short_of_an_accuracy(run: Path):
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"test": None}))
    (check,) = judging.verify(expecting(run, accuracy=0.1))
    assert (check["measured"], check["ok"]) == (None, False)
