"""A warm-up in which the whole training passes is said."""

from __future__ import annotations

import pytest

from snugnet.train.schedule import ScheduleConfig


@pytest.mark.parametrize(
    ("schedule", "epochs", "words"),
    [
        ({"warmup_epochs": 3}, 4, None),
        ({}, 0, None),
        (
            {"warmup_epochs": 3, "per": "batch"}, 3,
            "(3 epochs) fills the whole training of 3: give --set train.schedule.warmup_epochs=0.5",
        ),
        (
            {"warmup_epochs": 3, "per": "epoch"}, 2,
            "(3 epochs) fills the whole training of 2: give --set train.schedule.warmup_epochs=0",
        ),
    ],
)  # fmt: skip
def test_a_warm_up_that_fills_the_training(schedule: dict[str, object], epochs: int, words: str | None):
    assert ScheduleConfig.parse({"name": "cosine", **schedule}).fills(epochs) == (words and f"the warm-up {words}")
