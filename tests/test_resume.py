"""A run that was stopped anywhere and went on is bitwise the run that never was.

Holds for one machine, number of threads and versions of the libraries.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from small_runs import ADAMW_DROPOUT, SGD_EMA_BEST, STEPS, leftovers, outcome, tiny
from snugnet import files, pipeline
from snugnet.errors import Interrupted
from snugnet.pipeline import Controls
from snugnet.recipe import Recipe
from snugnet.stopping import Stopper
from snugnet.train.loop import Epoch

RECIPES = {"sgd, ema, best": tiny(*SGD_EMA_BEST), "adamw, dropout": tiny(*ADAMW_DROPOUT)}
WRITES = {"sgd, ema, best": 17, "adamw, dropout": 17}  # of a whole run, counted by test_every_write_is_tried


class Killed(BaseException):
    pass


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


class DyingDisk:
    """Kills the process at the k-th write, before it; an appended line is torn in the middle."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fatal: int) -> None:
        self.fatal, self.writes = fatal, 0
        self._write, self._append = files.write_bytes, files.append_line
        monkeypatch.setattr(files, "write_bytes", self.write_bytes)
        monkeypatch.setattr(files, "append_line", self.append_line)

    def write_bytes(self, path: Path, data: bytes) -> int:
        self.writes += 1
        if self.writes == self.fatal:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.1.part").write_bytes(data[: len(data) // 2])
            raise Killed
        return self._write(path, data)

    def append_line(self, path: Path, line: str) -> None:
        self.writes += 1
        if self.writes == self.fatal:
            with path.open("a") as file:
                file.write(line[: len(line) // 2])
            raise Killed
        self._append(path, line)


def test_every_write_is_tried(case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name, recipe, _ = case
    disk = DyingDisk(monkeypatch, fatal=0)
    pipeline.start(recipe, tmp_path / "run", Controls())
    assert disk.writes == WRITES[name]


@pytest.mark.parametrize("fatal", range(1, max(WRITES.values()) + 1))
def test_death_at_any_write(case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: int):
    name, recipe, whole = case
    if fatal > WRITES[name]:
        return
    with monkeypatch.context() as patch:
        DyingDisk(patch, fatal)
        with pytest.raises(Killed):
            pipeline.start(recipe, tmp_path / "run", Controls())
    assert not (tmp_path / "run" / "summary.json").exists()
    go_on(recipe, tmp_path / "run")
    assert outcome(tmp_path / "run") == whole
    assert not leftovers(tmp_path / "run")


@pytest.mark.parametrize("fatal", [2, 3, 5, 8, 10])
def test_death_while_going_on(case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: int):
    _, recipe, whole = case
    for kill in (7, fatal):
        with monkeypatch.context() as patch:
            DyingDisk(patch, kill)
            with pytest.raises(Killed):
                go_on(recipe, tmp_path / "run")
    go_on(recipe, tmp_path / "run")
    assert outcome(tmp_path / "run") == whole


def test_time_adds_up_over_sessions(tmp_path: Path):
    with pytest.raises(Interrupted):
        pipeline.start(tiny(), tmp_path / "run", Controls(stopper=Stopper(after_s=0), started=_seconds_ago(100)))
    summary = pipeline.resume(tmp_path / "run", Controls(started=_seconds_ago(1000)))
    assert 1100 <= summary["seconds"] <= 1110


def _seconds_ago(seconds: float) -> float:
    import time

    return time.monotonic() - seconds
