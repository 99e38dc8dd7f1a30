"""A run that was stopped anywhere and went on is bitwise the run that never was.

Holds for one machine, number of threads and versions of the libraries. What a kill or a disk leaves: test_crash.py.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_runs import ADAMW_DROPOUT, SGD_EMA_BEST, STEPS, outcome, tiny
from snugnet import pipeline
from snugnet.data import splits
from snugnet.errors import DataError, Interrupted
from snugnet.pipeline import Controls
from snugnet.recipe import Recipe
from snugnet.stopping import Stopper
from snugnet.train.loop import Epoch

RECIPES = {"sgd, ema, best": tiny(*SGD_EMA_BEST), "adamw, dropout": tiny(*ADAMW_DROPOUT)}


@pytest.fixture(scope="module", params=RECIPES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Recipe, Any]:
    path = tmp_path_factory.mktemp("whole") / "run"
    pipeline.start(RECIPES[request.param], path, Controls())
    return request.param, RECIPES[request.param], outcome(path)


def go_on(recipe: Recipe, path: Path, controls: Controls | None = None) -> None:
    """As a user would: resume what was created, else give the command again."""
    if (path / "config.json").exists():
        pipeline.resume(path, controls or Controls())
    else:
        pipeline.start(recipe, path, controls or Controls())


def test_one_step_at_a_time(case, tmp_path: Path):
    _, recipe, whole = case
    stops = 0
    while True:
        try:
            go_on(recipe, tmp_path / "run", Controls(stopper=Stopper(after_s=0)))
            break
        except Interrupted:
            stops += 1
    assert stops == STEPS
    assert outcome(tmp_path / "run") == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [1, 2, STEPS - 1])
def test_a_signal_in_mid_epoch(case, tmp_path: Path, number: signal.Signals, at: int):
    _, recipe, whole = case
    stopper, seen = Stopper(), []

    def observe(progress: object) -> None:
        if not isinstance(progress, Epoch):
            seen.append(progress)
        if len(seen) == at:
            signal.raise_signal(number)

    with pytest.raises(
        Interrupted, match=rf"^{number.name}: stopped in epoch \d, step \d, nothing is lost; go on with"
    ):
        pipeline.start(recipe, tmp_path / "run", Controls(stopper=stopper, observe=observe))
    pipeline.resume(tmp_path / "run", Controls())
    assert outcome(tmp_path / "run") == whole


def test_a_damaged_checkpoint_costs_the_way_from_the_one_before(case, tmp_path: Path):
    _, recipe, whole = case
    with pytest.raises(Interrupted):
        go_on(recipe, tmp_path / "run", Controls(stopper=Stopper(after_s=0)))
    with pytest.raises(Interrupted):
        go_on(recipe, tmp_path / "run", Controls(stopper=Stopper(after_s=0)))
    last = tmp_path / "run" / "checkpoint" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-1] + b"?")
    notes: list[str] = []
    pipeline.resume(tmp_path / "run", Controls(warn=notes.append))
    assert notes == [
        f"{last}: not a readable checkpoint (its bytes are not those that were written); going on from the checkpoint "
        "before it, in epoch 1, step 1: nothing else is lost"
    ]
    assert outcome(tmp_path / "run") == whole


def test_images_that_changed_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Interrupted):
        pipeline.start(tiny(), tmp_path / "run", Controls(stopper=Stopper(after_s=0)))
    opened = splits.open_splits

    def with_one_label_changed(*given: Any) -> Any:
        data = opened(*given)
        data.train.labels[7] = (data.train.labels[7] + 1) % 10
        return data

    monkeypatch.setattr(splits, "open_splits", with_one_label_changed)
    words = (
        r"run: must go on with the images and labels that it began with, but digits has others now; put them back as"
    )
    with pytest.raises(DataError, match=words):
        pipeline.resume(tmp_path / "run", Controls())


def test_what_else_changed_since_the_run_began_is_told(tmp_path: Path):
    run, notes = tmp_path / "run", list[str]()
    with pytest.raises(Interrupted):
        pipeline.start(tiny(), run, Controls(stopper=Stopper(after_s=0)))
    before = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(before | {"date": "2999-01-01T00:00:00Z", "numpy": "1.0"}))
    (run / "recipe.toml").write_text(tiny().text.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(Interrupted):
        pipeline.resume(run, Controls(stopper=Stopper(after_s=0), warn=notes.append))
    assert [note.partition(", and it is")[0] for note in notes] == [
        f"{run}: it began with numpy 1.0 and goes on with numpy {np.__version__}; the rest will not be bitwise what it "
        "would have been there",
        f"{run}: the clock was put back: the run began at 2999-01-01T00:00:00Z",
        f"{run}/recipe.toml: has changed since the run began, and the run goes on as it began; for what it says now: "
        f"snug train {run}/recipe.toml --run ANOTHER",
    ]


def test_time_adds_up_over_sessions(tmp_path: Path):
    with pytest.raises(Interrupted):
        pipeline.start(tiny(), tmp_path / "run", Controls(stopper=Stopper(after_s=0), started=_seconds_ago(100)))
    summary = pipeline.resume(tmp_path / "run", Controls(started=_seconds_ago(1000)))
    assert 1100 <= summary["seconds"] <= 1110


def _seconds_ago(seconds: float) -> float:
    import time

    return time.monotonic() - seconds
