"""`snug runs`: what it lists, finds and cleans."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from command import fails, snug
from small_runs import tiny
from snugnet import pipeline, runs
from snugnet.errors import Interrupted
from snugnet.pipeline import Controls
from snugnet.runs import Run
from snugnet.stopping import Stopper


@pytest.fixture
def shelf(finished: Path, elsewhere: Path) -> Path:
    """runs/ with a finished run, a stopped one in a folder, and one whose net was cut off."""
    shutil.copytree(finished, elsewhere / "runs" / "done")
    shutil.copytree(finished, elsewhere / "runs" / "cut")
    with (elsewhere / "runs" / "cut" / "model.safetensors").open("r+b") as file:
        file.truncate(10)
    with pytest.raises(Interrupted):
        pipeline.start(tiny(), Path("runs/group/seed-0"), Controls(stopper=Stopper(after_s=0)))
    (elsewhere / "runs" / "notes").mkdir()
    (elsewhere / "runs" / "notes" / "config.json").write_text("{}")  # no run of ours
    return elsewhere / "runs"


def test_each_run_with_its_state(shelf: Path):
    answer = snug("runs --json")
    assert answer.code == 0, answer.err
    found = {each["path"]: each for each in answer.json["runs"]}
    states = {path: each["state"] for path, each in found.items()}
    assert states == {"runs/cut": "damaged", "runs/done": "finished", "runs/group/seed-0": "unfinished"}
    summary, done, begun = runs.read(shelf / "done").summary, found["runs/done"], found["runs/group/seed-0"]
    assert (done["accuracy"], done["bytes"], done["recipe"]) == (summary["test"], summary["bytes"], "snugnet/digits")
    assert (done["epoch"], done["epochs"], done["seed"]) == (2, 2, 0)
    assert done["disk_bytes"] == sum(file.stat().st_size for file in (shelf / "done").rglob("*") if file.is_file())
    assert (begun["epoch"], begun["epochs"], begun["accuracy"], begun["bytes"]) == (0, 2, None, None)
    size = summary["bytes"]
    assert (
        found["runs/cut"]["note"]
        == f"runs/cut/model.safetensors: must be {size:,} B, and is 10 B; copy or train it again"
    )


@pytest.mark.usefixtures("shelf")
def test_in_words():
    answer = snug("runs")
    for words in ("runs/done ", " finished ", "2/2", "1 finished", "Next:   snug resume runs/group/seed-0"):
        assert words in answer.out
    assert "and no command needs them: snug runs runs --clean" in answer.out
    assert snug("runs --find nothing").out == "no runs in runs\n"


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ("--find TINY", ["runs/group/seed-0"]),
        ("--find done", ["runs/done"]),
        ("--state finished", ["runs/done"]),
        ("--state unfinished", ["runs/group/seed-0"]),
        ("runs/group", ["runs/group/seed-0"]),
    ],
)
@pytest.mark.usefixtures("shelf")
def test_some_of_them(options: str, paths: list[str]):
    assert [each["path"] for each in snug(f"runs --json {options}").json["runs"]] == paths


def test_a_run_at_work_and_a_damaged_one(shelf: Path):
    with Run.open(shelf / "group" / "seed-0").locked():
        assert [each["path"] for each in snug("runs --json --state running").json["runs"]] == ["runs/group/seed-0"]
    (shelf / "group" / "seed-0" / "config.json").write_text("{")
    note = snug("runs --json --find seed-0").json["runs"][0]["note"]
    assert note.startswith("runs/group/seed-0/config.json: damaged (")


def test_checkpoints_of_finished_runs_go_and_nothing_else(shelf: Path, monkeypatch: pytest.MonkeyPatch):
    held = sum(file.stat().st_size for file in runs.checkpoints(shelf / "done"))
    fails(snug("runs --clean"), 2, "--clean: would remove the checkpoints of 1 finished run (")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert "Nothing is removed" in snug("runs --clean").err
    assert len(runs.checkpoints(shelf / "done")) == 2
    answer = snug("runs --clean --yes --json")
    assert answer.json["freed_bytes"] == held > 0
    assert runs.checkpoints(shelf / "done") == []
    assert runs.checkpoints(shelf / "cut") != []
    assert runs.checkpoints(shelf / "group" / "seed-0") != []
    assert snug("evaluate runs/done").code == 0
    assert snug("resume runs/done").code == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("runs nowhere", "nowhere: must be a folder that holds runs, and is none; give another"),
        ("runs . --state done", "--state done: must be one of finished, unfinished, running, damaged"),
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_what_cannot_be_meant(line: str, words: str):
    fails(snug(line), 2, words)
