"""The page of a search: what it says of studies at any point of their way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from small_runs import TINY
from snugnet.report.study import write_study
from snugnet.search import study as studies
from snugnet.search.designs import design
from snugnet.search.progress import Progress
from snugnet.search.store import Job, Trial

TEXT = """
base = "tiny.toml"
purpose = "a <b> of it"
trials = 12
objectives = ["accuracy", "params", "latency"]
method = "random"
budget = { params = 2000 }
[space]
"model.stages.0.channels" = { from = 4, to = 12 }
"train.optimizer.name" = ["sgd", "adamw"]
"train.optimizer.lr" = { from = 0.01, to = 1.0, log = true }
"train.optimizer.momentum" = { choices = [0.5, 0.9], when = { "train.optimizer.name" = "sgd" } }
"""


def searched(folder: Path, finished: int) -> Progress:
    (folder / "tiny.toml").write_text(TINY)
    study = studies.parse(TEXT, "study.toml", "study", folder)
    trials: list[Trial] = [design(study, number, study.space.drawn(0, number)) for number in range(12)]
    jobs = []
    for trial in (trial for trial in trials if trial.state == "open"):
        values = {
            "accuracy": 0.5 + trial.number / 40,
            "params": trial.costs["params"],
            "latency": 1.0 + trial.number % 3,
        }
        ended = len(jobs) < finished
        jobs.append(
            Job(trial.number, 0, "done" if ended else "running", values=values if ended else {}, run="x", seconds=9)
        )
    return Progress(study, trials, jobs)


@pytest.fixture
def page(tmp_path: Path) -> str:
    pytest.importorskip("optuna")
    return write_study(searched(tmp_path, 99), tmp_path / "report.html").read_text()


def test_everything_is_on_it_and_nothing_from_elsewhere(page: str):
    for heading in ("The space", "How it went", "Trials", "The study file"):
        assert f"<h2>{heading}</h2>" in page
    assert "a &lt;b&gt; of it" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert page.count("<svg") == 5  # history, two fronts, importances, parallel coordinates
    assert "0.01 to 1, by proportion" in page
    assert "0.5, 0.9; where train.optimizer.name is sgd" in page
    assert "over budget" in page


def test_ids_of_the_pictures_are_their_own(page: str):
    found = re.findall(r' id="([^"]+)"', page)
    assert len(found) == len(set(found))


def test_before_anything_is_finished(tmp_path: Path):
    text = write_study(searched(tmp_path, 0), tmp_path / "report.html").read_text()
    assert "No trial is finished yet." in text
    assert "How it went" not in text


def test_one_finished_trial_is_enough(tmp_path: Path):
    text = write_study(searched(tmp_path, 1), tmp_path / "report.html").read_text()
    assert "<strong>Trial " in text
    assert text.count("<svg") == 4
