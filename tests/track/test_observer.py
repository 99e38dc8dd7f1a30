"""What a tracker is told, and that nothing it does harms a training. The tracker here is made up."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from command import fails, snug
from small_runs import outcome, tiny
from snugnet import pipeline, runs, track
from snugnet.errors import Interrupted
from snugnet.launch import Place
from snugnet.parallel import Alone
from snugnet.pipeline import Controls
from snugnet.runs import Run
from snugnet.stopping import Stopper
from snugnet.track.facts import About, Ending
from snugnet.track.observer import along, recorded

BEGIN, EPOCH, FINAL = "begin", "epoch", "final"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the tracker "fake" hears."""
    heard: list[tuple[Any, ...]] = []

    class Fake:
        def __init__(self, about: About, id: str | None) -> None:
            heard.append((BEGIN, id, about.epochs))
            self.id = id or "number 7"
            self.about = about

        def epoch(self, number: int, values: Mapping[str, float]) -> None:
            heard.append((EPOCH, number, values["train/loss"]))

        def final(self, number: int, values: Mapping[str, float]) -> None:
            heard.append((FINAL, number, values["test/accuracy"]))

        def close(self, ending: Ending) -> None:
            heard.append((ending,))

    monkeypatch.setitem(sys.modules, "snugnet.track.fake", SimpleNamespace(Run=Fake))  # type: ignore[arg-type]
    monkeypatch.setitem(track.PACKAGES, "fake", ())
    return heard


def breaks(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(sys.modules["snugnet.track.fake"].Run, method, broken)


def trained(path: Path, **controls: Any) -> dict[str, Any]:
    return along(["fake"], path, Controls(**controls), lambda told: pipeline.start(tiny(), path, told))


def resumed(path: Path, **controls: Any) -> dict[str, Any]:
    return along(recorded(path), path, Controls(**controls), lambda told: pipeline.resume(path, told))


def numbers(heard: list[tuple[Any, ...]]) -> list[Any]:
    """Without the losses."""
    return [fact[:2] if fact[0] in (EPOCH, FINAL) else fact for fact in heard]


def test_a_training_is_told_from_begin_to_end(tmp_path: Path, told: list[tuple[Any, ...]]):
    seen: list[Any] = []
    summary = trained(tmp_path / "run", observe=seen.append)
    assert len(seen) == 8
    metrics = runs.read(tmp_path / "run").metrics
    assert told == [
        (BEGIN, None, 0),
        (EPOCH, 1, metrics[0]["train_loss"]),
        (EPOCH, 2, metrics[1]["train_loss"]),
        (FINAL, 2, summary["test"]),
        ("finished",),
    ]
    assert runs.tracking(tmp_path / "run") == {"fake": {"id": "number 7", "epoch": 2, "finished": True}}
    del told[:]
    assert resumed(tmp_path / "run") == summary
    assert told == []


def test_a_stopped_run_goes_on_in_the_same_tracked_run(tmp_path: Path, told: list[tuple[Any, ...]]):
    stopper = Stopper(3600)

    def stop_in_epoch_2(progress: Any) -> None:
        if progress.epoch == 2:
            stopper._signal = "SIGTERM"

    with pytest.raises(Interrupted):
        trained(tmp_path / "run", stopper=stopper, observe=stop_in_epoch_2)
    assert numbers(told) == [(BEGIN, None, 0), (EPOCH, 1), ("stopped",)]
    del told[:]
    resumed(tmp_path / "run")
    assert numbers(told) == [(BEGIN, "number 7", 1), (EPOCH, 2), (FINAL, 2), ("finished",)]


def test_an_epoch_that_is_trained_twice_is_told_once(
    tmp_path: Path, told: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
):
    """A kill between the telling and the checkpoint."""
    log = Run.log

    def killed(self: Run, line: dict[str, Any]) -> None:
        if line["epoch"] == 2:
            raise RuntimeError("power cut")
        log(self, line)

    monkeypatch.setattr(Run, "log", killed)
    with pytest.raises(RuntimeError, match="power cut"):
        trained(tmp_path / "run")
    monkeypatch.setattr(Run, "log", log)
    assert numbers(told) == [(BEGIN, None, 0), (EPOCH, 1), (EPOCH, 2), ("failed",)]
    del told[:]
    resumed(tmp_path / "run")
    assert numbers(told) == [(BEGIN, "number 7", 2), (FINAL, 2), ("finished",)]


@pytest.mark.parametrize("method", ["__init__", "epoch", "final", "close"])
def test_a_tracker_that_fails_is_let_go(
    tmp_path: Path, told: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, method: str
):
    pipeline.start(tiny(), tmp_path / "alone", Controls())
    notes: list[str] = []
    with monkeypatch.context() as patch:
        breaks(patch, method, ConnectionError("the server\nis gone"))
        trained(tmp_path / "run", warn=notes.append)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "alone")
    assert notes == [
        "fake: tracking ends here (ConnectionError: the server is gone); the training goes on, and "
        f"`snug resume {tmp_path / 'run'}` tells fake what it missed"
    ]
    resumed(tmp_path / "run")
    assert [fact for fact in numbers(told) if fact[0] in (EPOCH, FINAL)] == [(EPOCH, 1), (EPOCH, 2), (FINAL, 2)]


def test_a_tracker_that_comes_late_hears_all(finished: Path, tmp_path: Path, told: list[tuple[Any, ...]]):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    along(["fake"], run, Controls(), lambda told: pipeline.resume(run, told))
    assert numbers(told) == [(BEGIN, None, 0), (EPOCH, 1), (EPOCH, 2), (FINAL, 2), ("finished",)]


def test_of_several_processes_the_first_tells(tmp_path: Path, told: list[tuple[Any, ...]]):
    class Second(Alone):
        place = Place(rank=1, count=2)

    controls = Controls(processes=Second())
    assert along(["fake"], tmp_path, controls, lambda told: {"as given": told is controls}) == {"as given": True}
    assert told == []


def test_the_command_line(elsewhere: Path, told: list[tuple[Any, ...]]):
    line = "train snugnet/digits --set train.epochs=1 --seeds 2 --run group --stop-after"
    assert snug(f"{line} 0 --track fake").code == 0
    assert told == [(BEGIN, None, 0), ("stopped",)]
    assert recorded(elsewhere / "group") == ("fake",)
    del told[:]
    assert snug("resume group").code == 0
    each = [(BEGIN, None, 0), (EPOCH, 1), (FINAL, 1), ("finished",)]
    assert numbers(told) == [(BEGIN, "number 7", 0), *each[1:], *each]
    del told[:]
    (elsewhere / "group" / "seed-1" / "summary.json").unlink()
    assert snug("resume group --track none").code == 0
    assert told == []


def test_what_cannot_track(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    words = "--track wandbb: must be of tensorboard, wandb, mlflow, with commas between, did you mean 'wandb'?"
    fails(snug("train snugnet/digits --track wandbb"), 2, words)
    (elsewhere / "not_there").mkdir()
    monkeypatch.syspath_prepend(str(elsewhere))
    monkeypatch.setitem(track.PACKAGES, "wandb", ("json", "not_there"))
    words = "--track wandb: needs not_there, not installed here: pip install 'snugnet[wandb]'"
    fails(snug("train snugnet/digits --track wandb"), 6, words)
    assert not (elsewhere / "runs").exists()
