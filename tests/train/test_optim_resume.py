"""Every optimiser, stopped in the middle of an epoch and gone on with, ends where it would have without a stop."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from small_runs import outcome, tiny
from snugnet import pipeline
from snugnet.errors import Interrupted
from snugnet.pipeline import Controls
from snugnet.stopping import Stopper
from snugnet.train.loop import Epoch, Step

BATCHES = 2  # of 3 in the first epoch

CASES = {
    "adam": ["name=adam", "lr=0.01"],
    "adadelta": ["name=adadelta", "lr=1.0"],
    "rmsprop": ["name=rmsprop", "lr=0.01", "momentum=0.5"],
    "muon": ["name=muon", "lr=0.05", "rest_lr=0.1"],
    "muon, adamw": ["name=muon", "lr=0.05", "rest=adamw", "rest_lr=0.01", "weight_decay=0.1", "decay_all=false"],
    "sam": ["sam.rho=0.1"],
    "asam, adamw": ["name=adamw", "lr=0.01", "sam.rho=0.5", "sam.adaptive=true"],
    "lookahead": ["lookahead.k=4", "lookahead.alpha=0.8"],
    "all at once": ["name=muon", "lr=0.05", "sam.rho=0.1", "lookahead.k=4"],
}


@pytest.mark.parametrize("case", CASES)
def test_stopped_and_gone_on_with(case: str, tmp_path: Path):
    recipe = tiny(*(f"train.optimizer.{change}" for change in CASES[case]), "model.head.dropout=0.2")
    pipeline.start(recipe, tmp_path / "whole", Controls())
    stopper, seen = Stopper(), []

    def observe(progress: Step | Epoch) -> None:
        seen.append(progress)
        if len(seen) == BATCHES:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        pipeline.start(recipe, tmp_path / "run", Controls(stopper=stopper, observe=observe))
    pipeline.resume(tmp_path / "run", Controls())
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
