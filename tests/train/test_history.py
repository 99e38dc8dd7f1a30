from __future__ import annotations

from pathlib import Path

import pytest

from small_runs import outcome, tiny
from snugnet import pipeline, runs
from snugnet.errors import Interrupted, RecipeError
from snugnet.pipeline import Controls
from snugnet.stopping import Stopper
from snugnet.train.history import StopConfig, is_over, score

WATCHING = [
    "train.epochs=4", "train.optimizer.lr=1e-9", 'train.schedule={name="plateau", patience=0, threshold=0.5}',
    "train.stop={patience=2}", "train.clip_value=0.1", "train.keep=best", "train.keep_metric=loss",
]  # fmt: skip


def test_a_training_stops_when_patience_is_over():
    accuracies = [0.1, 0.3, 0.2, 0.3, 0.4, 0.1, 0.4, 0.2]
    history = [(0.0, accuracy) for accuracy in accuracies]
    over = [is_over(StopConfig(patience=3), history[:done]) for done in range(len(history) + 1)]
    assert over == [False] * 8 + [True]
    assert is_over(StopConfig(patience=2), history[:4])
    assert is_over(StopConfig(patience=7, metric="loss"), history)
    assert not is_over(None, history)


def test_a_lower_loss_is_better_and_none_is_worst():
    assert score((0.5, 0.1), "loss") > score((0.6, 0.9), "loss") > score((float("nan"), 1.0), "loss")
    assert score((0.5, 0.1), "accuracy") == 0.1


def test_plateau_and_stop_go_on_bitwise(tmp_path: Path):
    """The rate is so small that val never gets better: drops after epoch 2 and 3, the end after 3."""
    recipe = tiny(*WATCHING)
    pipeline.start(recipe, tmp_path / "whole", Controls())
    lines = runs.read(tmp_path / "whole").metrics
    assert [line["lr"] for line in lines] == pytest.approx([1e-9, 1e-9, 1e-10])
    assert runs.read(tmp_path / "whole").summary["epochs"] == 3  # of 4 that were planned
    with pytest.raises(Interrupted):
        pipeline.start(recipe, tmp_path / "run", Controls(stopper=Stopper(after_s=0)))
    pipeline.resume(tmp_path / "run", Controls())
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("override", ["train.stop.patience=2", "train.schedule.name=plateau"])
def test_without_val_nothing_can_be_watched(override: str, tmp_path: Path):
    with pytest.raises(RecipeError, match=r"^train\.s.*: needs a val split, which is empty; set data.train_on"):
        pipeline.start(tiny(override, "data.train_on=all"), tmp_path / "run", Controls())
    assert not (tmp_path / "run").exists()
