from __future__ import annotations

import json
from pathlib import Path

from small_runs import tiny
from snugnet import runs
from snugnet.track import facts


def test_an_epoch(finished: Path):
    line = runs.read(finished).metrics[1]
    assert facts.of_epoch(line) == {
        "train/loss": line["train_loss"],
        "val/loss": line["val_loss"],
        "val/accuracy": line["val_accuracy"],
        "lr": line["lr"],
        "images_per_second": line["images_per_second"],
        "epoch_seconds": line["seconds"],
    }
    assert facts.of_epoch(line | {"val_loss": None, "val_accuracy": None}).keys() == {
        "train/loss",
        "lr",
        "images_per_second",
        "epoch_seconds",
    }


def test_a_summary(finished: Path):
    summary = runs.read(finished).summary
    told = facts.of_summary(summary)
    assert told["test/accuracy"] == summary["test"]
    assert told["val/shipped_accuracy"] == summary["val"]
    assert (told["params"], told["bytes"]) == (19_706, summary["bytes"])
    assert "test/tta_accuracy" not in told
    assert facts.of_summary(summary | {"tta_test": 0.5})["test/tta_accuracy"] == 0.5
    without = summary | {"scores": {}, "val": None, "test": None}
    assert facts.of_summary(without).keys() == set(facts.TOTALS)


def test_a_recipe_is_flattened_to_single_values():
    plain = tiny("train.optimizer.lr=0.3").experiment.plain()
    params = facts.flat(plain)
    assert params["train.optimizer.lr"] == 0.3
    assert params["model.stages.0.block"] == "basic"
    assert all(isinstance(value, (str, bool, int, float)) for value in params.values())
    assert len(params) > 20
    assert json.loads(json.dumps(params)) == params


def test_the_names_are_those_of_the_documentation():
    text = (Path(__file__).parents[2] / "docs/tracking.md").read_text()
    finals = {f"test/{name}" for name in facts.SCORES} | {"test/tta_accuracy", "val/shipped_accuracy", *facts.TOTALS}
    assert all(f"`{name}`" in text for name in {*facts.EPOCH, *finals})
