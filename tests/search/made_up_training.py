"""Studies over a net of a few hundred parameters, and trainings that are made up: an accuracy by the recipe alone."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

from small_runs import TINY
from snugnet.errors import Diverged, Interrupted
from snugnet.recipe import Experiment, Recipe
from snugnet.runs import Run
from snugnet.search import study, team
from snugnet.search.study import Study
from snugnet.search.work import Worker
from snugnet.train.loop import Epoch

GRID = """
base = "tiny.toml"
epochs = 3
method = "grid"
[space]
"model.stages.0.channels" = [4, 6, 8]
"train.optimizer.lr" = [0.1, 0.3]
"""
BEST = {"model.stages.0.channels": 8, "train.optimizer.lr": 0.3}


def made(folder: Path, text: str = GRID, *changes: tuple[str, str]) -> Study:
    """A study over small_runs.TINY, with changes to its text, each of which must be possible."""
    (folder / "tiny.toml").write_text(TINY)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return study.parse(text, "study.toml", "study", folder)


def begun(made_study: Study, folder: Path) -> tuple[Study, Any, Worker]:
    """What `work` takes."""
    return made_study, team.begin(made_study, folder), Worker(team.worker_name(), folder, lease_s=60)


def accuracy(experiment: Experiment, epoch: int) -> float:
    """Wider is better, 0.3 the best rate, more epochs help."""
    width = experiment.model.stages[0].channels
    return round(0.5 + width / 50 - abs(experiment.train.optimizer.lr - 0.3) / 2 + epoch / 100, 6)


class Trainings:
    """Stands for `pipeline.start` and `pipeline.resume`. `epochs` counts those trained, `starts` beginnings, by run."""

    def __init__(self) -> None:
        self.epochs: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.after: dict[int, BaseException | signal.Signals] = {}  # raised once so many epochs were trained in all

    def start(self, recipe: Recipe, path: Path, controls: Any) -> None:
        with self.lock:
            self.starts[path.name] += 1
        self._train(Run.create(path, recipe, recipe.experiment, {}), controls)

    def resume(self, path: Path, controls: Any) -> None:
        self._train(Run.open(path), controls)

    def _train(self, run: Run, controls: Any) -> None:
        experiment = run.experiment
        if experiment.train.optimizer.lr > 1:
            raise Diverged("loss: must be finite, but is nan in epoch 1, step 1")
        for epoch in range(len(run.record().metrics) + 1, experiment.train.epochs + 1):
            with self.lock:
                self.epochs[run.path.name] += 1
                raised = self.after.pop(sum(self.epochs.values()), None)
            run.log({"epoch": epoch, "val_accuracy": accuracy(experiment, epoch)})
            controls.observe(Epoch(**{field.name: None for field in fields(Epoch)} | {"epoch": epoch}))
            if isinstance(raised, BaseException):
                raise raised
            if raised is not None:
                signal.raise_signal(raised)
            if epoch < experiment.train.epochs and (reason := controls.stopper.reason):
                raise Interrupted(reason)
        run.finish({"epochs": experiment.train.epochs, "val": accuracy(experiment, experiment.train.epochs)})
