"""Trainings that go wrong without a loss that says so."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from small_runs import tiny
from snugnet import pipeline
from snugnet.device import Compute
from snugnet.errors import Diverged
from snugnet.pipeline import Controls
from snugnet.train import history, loop
from snugnet.train.config import TrainConfig

CPU = Compute(torch.device("cpu"), "fp32")
CHANCE = [(2.3, 0.1)] * 3


def test_a_net_at_chance_is_noticed_once_three_epochs_in():
    assert history.learns_nothing(CHANCE, 0.1, 1000)
    assert not history.learns_nothing(CHANCE[:2], 0.1, 1000)
    assert not history.learns_nothing([*CHANCE, CHANCE[0]], 0.1, 1000)
    luck = 3 * math.sqrt(0.1 * 0.9 / 1000)
    assert history.learns_nothing([*CHANCE[:2], (2.3, 0.1 + luck - 1e-6)], 0.1, 1000)
    assert not history.learns_nothing([*CHANCE[:2], (2.3, 0.1 + luck + 1e-6)], 0.1, 1000)
    assert not history.learns_nothing(CHANCE, 0.1, 0)


def test_a_dead_net_is_told_with_what_to_try(tmp_path: Path):
    said: list[str] = []
    dead = tiny("train.epochs=4", "train.optimizer.lr=1e-12", "train.ema.decay=0.9")
    pipeline.start(dead, tmp_path / "run", Controls(warn=said.append))
    (told,) = said
    assert told.startswith("after 3 epochs val accuracy is at most ")
    assert told.endswith(
        "the net learns nothing; lower train.optimizer.lr (now 1e-12), or look at images and labels with "
        "`snug data show digits`"
    )


def learner(**options: object) -> loop.Learner:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    return loop.Learner(model, TrainConfig.parse({"epochs": 1, **options}), CPU)


def test_weights_that_the_last_step_spoiled_do_not_ship():
    held = learner()
    loop._check_weights(held)
    with torch.no_grad():
        held.model[1].bias[0] = math.inf
    words = r"^epoch 1: 1\.bias must be finite, but is not, though the losses were; lower train\.optimizer\.lr \(now "
    with pytest.raises(Diverged, match=words):
        loop._check_weights(held)


def test_an_average_that_exploded_is_named_as_one():
    held = learner(ema={"decay": 0.9})
    with torch.no_grad():
        held.ema.model[1].weight[0, 0] = math.nan
    with pytest.raises(Diverged, match=r"^epoch 1: the average of 1\.weight must be finite, but is not"):
        loop._check_weights(held)
