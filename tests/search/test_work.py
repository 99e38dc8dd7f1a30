"""Workers over made-up trainings: everything once, nothing lost, the budget first."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_training import BEST, GRID, Trainings, begun, made

from snugnet.errors import DataError, Interrupted, OverBudget, RunExists, RunLocked
from snugnet.runs import Run
from snugnet.search import study as studies
from snugnet.search import team
from snugnet.search.progress import REFUSED, Progress
from snugnet.search.study import Study
from snugnet.search.winner import write_best
from snugnet.search.work import work

RUNGS = GRID.replace('epochs = 3\nmethod = "grid"', 'trials = 9\nmethod = { name = "rungs", epochs = [1, 3, 9] }')


def searched(made_study: Study, folder: Path) -> Progress:
    study, opened, worker = begun(made_study, folder / "study")
    try:
        return work(study, opened, worker)
    finally:
        opened.close()


def test_a_grid_trains_each_point_once(tmp_path: Path, trainings: Trainings):
    progress = searched(made(tmp_path), tmp_path)
    assert progress.is_over
    assert progress.counts() == {"done": 6}
    assert set(trainings.starts.values()) == {1}
    assert set(trainings.epochs.values()) == {3}
    document = progress.plain()
    assert document["best"]["params"] == BEST
    assert document["best"]["values"] == {"accuracy": 0.69}
    assert [row["params"] for row in document["trials"]] == list(progress.study.grid)
    assert (tmp_path / "study" / document["best"]["run"] / "summary.json").is_file()


def test_the_same_command_again_trains_nothing(tmp_path: Path, trainings: Trainings):
    first = searched(made(tmp_path), tmp_path).plain()
    before = dict(trainings.epochs)
    assert searched(made(tmp_path), tmp_path).plain() == first
    assert dict(trainings.epochs) == before


def test_more_trials_go_on_where_fewer_ended(tmp_path: Path, trainings: Trainings):
    few = GRID.replace("epochs = 3", "epochs = 3\ntrials = 2")
    assert len(searched(made(tmp_path, few), tmp_path).trials) == 2
    assert len(searched(made(tmp_path, few, ("trials = 2", "trials = 5")), tmp_path).trials) == 5
    assert set(trainings.starts.values()) == {1}


def test_designs_over_the_budget_never_train(tmp_path: Path, trainings: Trainings):
    study = made(tmp_path, GRID, ("epochs = 3", "epochs = 3\nbudget = { params = 808 }"))
    progress = searched(study, tmp_path)
    assert progress.counts() == {"done": 4, "over budget": 2}
    assert len(trainings.starts) == 4
    assert max(row["costs"]["params"] for row in progress.plain()["trials"] if row["run"]) == 808


def test_a_budget_that_nothing_fits(tmp_path: Path, trainings: Trainings):
    study = made(tmp_path, GRID, ("epochs = 3", "epochs = 3\nbudget = { params = 397 }"))
    words = (
        r"^study: none of 6 designs fits the budget; the nearest is number 0: params 398 parameters, 1 parameters over"
    )
    with pytest.raises(OverBudget, match=words):
        searched(study, tmp_path)
    assert not trainings.starts


def test_a_random_search_gives_up_where_nothing_fits(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("snugnet.search.progress.REFUSED", 5)
    text = GRID.replace('method = "grid"', 'trials = 3\nmethod = "random"\nbudget = { params = 397 }')
    with pytest.raises(OverBudget, match="none of 5 designs fits"):
        searched(made(tmp_path, text), tmp_path)
    assert REFUSED == 200
    assert not trainings.starts


def test_the_very_same_design_is_not_trained_twice(tmp_path: Path, trainings: Trainings):
    """Twenty draws of six points: each is trained once, and all have its result."""
    text = GRID.replace('method = "grid"', 'trials = 20\nmethod = "random"')
    progress = searched(made(tmp_path, text), tmp_path)
    points = {str(trial.point) for trial in progress.trials}
    assert (len(progress.trials), len(trainings.starts)) == (20, len(points))
    assert set(trainings.starts.values()) == {1}
    same = next(row for row in progress.plain()["trials"] if row["state"].startswith("same as"))
    first = progress.plain()["trials"][int(same["state"].split()[-1])]
    assert (same["params"], same["values"], same["run"]) == (first["params"], first["values"], first["run"])


@pytest.mark.usefixtures("trainings")
def test_a_training_that_diverges_is_a_result(tmp_path: Path):
    progress = searched(made(tmp_path, GRID, ("[0.1, 0.3]", "[0.3, 9.0]")), tmp_path)
    assert progress.counts() == {"done": 3, "failed": 3}
    failed = progress.plain()["trials"][1]
    assert (failed["state"], failed["note"]) == ("failed", "loss: must be finite, but is nan in epoch 1, step 1")
    assert progress.plain()["best"]["params"] == BEST


def test_data_that_is_gone_ends_the_search_and_gives_the_trial_back(tmp_path: Path, trainings: Trainings):
    trainings.after[4] = DataError("digits: gone")
    with pytest.raises(DataError):
        searched(made(tmp_path), tmp_path)
    progress = searched(made(tmp_path), tmp_path)
    assert progress.counts() == {"done": 6}
    assert set(trainings.starts.values()) == {1}
    assert set(trainings.epochs.values()) == {3}


@pytest.mark.parametrize("text", [GRID, RUNGS, GRID.replace('"grid"', '"tpe"\ntrials = 14')])
@pytest.mark.parametrize("after", [1, 5, 8])
def test_a_search_that_was_stopped_ends_as_if_it_had_not_been(
    tmp_path: Path, trainings: Trainings, text: str, after: int
):
    pytest.importorskip("optuna")
    for folder in ("whole", "stopped"):
        (tmp_path / folder).mkdir()
    whole = searched(made(tmp_path / "whole", text), tmp_path / "whole")
    trainings.epochs.clear()
    trainings.starts.clear()
    trainings.after[after] = signal.SIGTERM
    stopped = made(tmp_path / "stopped", text)
    with pytest.raises(Interrupted, match=r"^SIGTERM"):
        searched(stopped, tmp_path / "stopped")
    again = searched(stopped, tmp_path / "stopped")
    assert trials(again) == trials(whole)
    assert set(trainings.starts.values()) == {1}


def trials(progress: Progress) -> list[dict[str, Any]]:
    rows = progress.plain()["trials"]
    return [{name: value for name, value in row.items() if name not in ("seconds", "attempts")} for row in rows]


def test_rungs_train_few_to_the_end(tmp_path: Path, trainings: Trainings):
    space = '[space]\n"model.stages.0.channels" = { from = 4, to = 30 }\n'
    progress = searched(made(tmp_path, RUNGS[: RUNGS.index("[space]")] + space), tmp_path)
    epochs = sorted(row["epochs"] for row in progress.plain()["trials"])
    assert epochs[0] == 1
    assert epochs[-1] == 9
    assert sum(trainings.epochs.values()) < 9 * 9 / 2
    best = progress.plain()["best"]
    assert best["params"] == max((trial.point for trial in progress.trials), key=lambda p: p["model.stages.0.channels"])
    assert best["state"] == "done"
    assert progress.counts()["stopped early"] == sum(row["epochs"] < 9 for row in progress.plain()["trials"])
    assert max(trainings.starts.values()) == 1  # a promoted training goes on


def test_seeds_are_trainings_of_their_own_and_accuracy_is_their_mean(tmp_path: Path, trainings: Trainings):
    study = made(tmp_path, GRID, ("epochs = 3", "epochs = 3\nseeds = 2\nseed = 4"))
    progress = searched(study, tmp_path)
    assert sorted(trainings.starts) == ["seed-4", "seed-5"]
    assert set(trainings.starts.values()) == {6}
    run = tmp_path / "study" / progress.plain()["best"]["run"]
    assert [Run.open(run / f"seed-{seed}").experiment.seed for seed in (4, 5)] == [4, 5]


def test_two_workers_share_the_work(tmp_path: Path, trainings: Trainings):
    study = made(tmp_path)
    alone = trials(searched(study, tmp_path))
    trainings.starts.clear()
    (tmp_path / "two").mkdir()
    _, opened, worker = begun(study, tmp_path / "two" / "study")
    workers = [replace(worker, name=name) for name in ("a", "b")]
    threads = [threading.Thread(target=work, args=(study, opened, each)) for each in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert trials(Progress.read(study, opened)) == alone
    assert set(trainings.starts.values()) == {1}
    opened.close()


def test_a_dead_worker_s_trial_goes_on_where_it_was(tmp_path: Path, trainings: Trainings):
    """It died in its second epoch without a word: its lease runs out, and another one trains the two that are left."""
    study, opened, worker = begun(made(tmp_path), tmp_path / "study")

    class Death(BaseException):
        pass

    trainings.after[2] = Death()
    give_back, opened.give_back = opened.give_back, lambda job: True  # type: ignore[method-assign]
    with pytest.raises(Death):
        work(study, opened, replace(worker, name="dead", lease_s=0.2))
    opened.give_back = give_back  # type: ignore[method-assign]
    assert opened.jobs()[0].worker == "dead"
    progress = work(study, opened, replace(worker, name="heir", lease_s=0.2))
    assert progress.plain()["trials"][0]["attempts"] == 2
    assert set(trainings.epochs.values()) == {3}
    opened.close()


def test_a_run_that_is_still_written_is_left_alone(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
):
    """A worker that was taken for dead has its run locked: once it has let go, the trial is trained."""
    study, opened, worker = begun(made(tmp_path), tmp_path / "study")
    locked = iter([True])
    start = trainings.start

    def first_locked(*arguments: Any) -> None:
        if next(locked, False):
            raise RunLocked("a run: another process is working on this run")
        start(*arguments)

    monkeypatch.setattr("snugnet.pipeline.start", first_locked)
    progress = work(study, opened, replace(worker, lease_s=0.2))
    assert progress.counts() == {"done": 6}
    assert progress.plain()["trials"][0]["attempts"] == 2
    opened.close()


def test_the_best_as_a_recipe(tmp_path: Path, trainings: Trainings):
    progress = searched(made(tmp_path), tmp_path)
    path = write_best(progress, tmp_path / "best.toml")
    text = path.read_text()
    assert text.startswith('purpose = "found by snug search: trial 5, the best of 6 in accuracy"\n')
    assert f"(grid, study {progress.study.digest[:12]}), from tiny.toml; accuracy 69.00 % on val" in text
    best = studies.recipe.load(str(path)).experiment
    assert best.sha256 == Run.open(tmp_path / "study" / progress.plain()["best"]["run"]).experiment.sha256
    assert trainings.starts


def test_a_directory_is_of_one_study(tmp_path: Path, trainings: Trainings):
    searched(made(tmp_path), tmp_path)
    with pytest.raises(RunExists, match="holds another study, study; go on with the file it began with"):
        team.begin(made(tmp_path, GRID, ("epochs = 3", "epochs = 4")), tmp_path / "study")
    with pytest.raises(RunExists, match="exists, is not empty and holds no study; give --run another directory"):
        team.begin(made(tmp_path), tmp_path)
    assert trainings.starts
