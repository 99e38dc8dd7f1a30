"""`snug search`: what it prints, writes and refuses, over made-up trainings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from made_up_training import BEST, GRID, Trainings

from command import fails, snug
from small_runs import TINY
from snugnet import recipe
from snugnet.search import study as studies

pytestmark = pytest.mark.usefixtures("trainings", "folder")


@pytest.fixture
def folder(elsewhere: Path) -> Path:
    (elsewhere / "tiny.toml").write_text(TINY)
    (elsewhere / "study.toml").write_text(GRID)
    return elsewhere


def changed(before: str, after: str) -> None:
    assert before in GRID
    Path("study.toml").write_text(GRID.replace(before, after))


def test_a_search_in_words(folder: Path):
    answer = snug("search study.toml --best best.toml")
    assert answer.code == 0, answer.err
    assert answer.err.startswith("study: grid over 2 keys of tiny.toml, budget none, 1 worker\n")
    assert "trial 0  done  accuracy 51.00 %  ★ best so far" in answer.err
    assert "6 trials: 6 done; " in answer.out
    assert "Report: runs/study/report.html\nWritten: best.toml\nNext:   snug train best.toml\n" in answer.out
    assert recipe.load("best.toml").experiment.model.stages[0].channels == 8
    page = (folder / "runs/study/report.html").read_text()
    assert "<strong>Trial 5</strong>: accuracy 69.00 %" in page
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_search_for_scripts(trainings: Trainings):
    Path("study.toml").write_text(GRID.replace("epochs = 3", 'epochs = 3\nobjectives = ["accuracy", "params"]'))
    document = snug("search study.toml --run here --json").json
    assert document.keys() >= {"best", "pareto", "trials", "study", "finished", "counts", "run", "report"}
    assert (document["run"], document["finished"], document["recipe"]) == ("here", True, None)
    assert document["best"]["params"] == BEST
    assert [row["number"] for row in document["pareto"]] == [5, 3, 1]  # at the best rate each width is worth its size
    assert document["best"].keys() == {
        "number", "state", "params", "values", "costs", "epochs", "run", "seconds", "attempts", "note",
    }  # fmt: skip
    assert snug("search study.toml --run here --json --resume").json == document
    assert set(trainings.starts.values()) == {1}


def test_a_look_trains_nothing(trainings: Trainings):
    changed("epochs = 3", "epochs = 3\ntrials = 2")
    snug("search study.toml")
    changed("epochs = 3", "epochs = 3\ntrials = 4")
    document = snug("search study.toml --look --json").json
    assert (document["finished"], len(document["trials"]), len(trainings.starts)) == (False, 2, 2)
    assert "Next:   snug search study goes on with it" in snug("search study.toml --look").out
    assert snug("search study.toml --json").json["finished"]


def test_stop_after_is_a_success_that_is_not_finished():
    document = snug("search study.toml --stop-after 0.000001s --json").json
    assert (document["finished"], document["best"]) == (False, None)
    assert snug("search study.toml --json").json["counts"] == {"done": 6}


def test_built_in_studies_are_listed():
    assert [row["name"] for row in snug("search --list --json").json] == studies.builtin_names()
    assert "digits: Widths and learning rate" in snug("search --list").out


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("search", 2, "search: needs a STUDY, a TOML file; `snug search --list` lists the built-in ones"),
        ("search nowhere.toml", 2, "nowhere.toml: neither a built-in study nor a file"),
        ("search digit", 2, "digit: neither a built-in study nor a file, did you mean 'digits'?"),
        ("search study.toml --resume", 2, "runs/study: no study has begun here; leave --resume out"),
        ("search study.toml --look", 2, "runs/study: no study has begun here; leave --look out"),
        ("search study.toml --run .", 2, ".: exists, is not empty and holds no study; give --run another directory"),
        ("search study.toml --run tiny.toml", 2, "tiny.toml: is a file; give --run another directory"),
        ("search study.toml --lease 0", 2, "--lease: must be above 0; got 0"),
        ("search study.toml --stop-after soon", 2, "--stop-after: a duration must be a number"),
        ("search study.toml --device tpu", 2, "--device tpu: unknown device"),
        ("search study.toml --storage sqlite:////no/where.db", 4, "where.db: the study's storage does not answer ("),
        (
            "search study.toml --best b.toml --stop-after 0.000001s",
            2,
            "--best b.toml: no trial of study is finished yet",
        ),
    ],
)
def test_what_cannot_be_searched(line: str, code: int, words: str):
    fails(snug(line), code, words)


def test_bad_studies_end_in_one_error():
    changed('"train.optimizer.lr"', '"train.optimiser.lr"')
    fails(snug("search study.toml"), 2, "study.toml:7: space.train.optimiser.lr: train.optimiser: unknown key")
    changed("epochs = 3", "epochs = 3\nbudget = { params = 397 }")
    fails(snug("search study.toml"), 3, "study: none of 6 designs fits the budget; the nearest is number 0: params 398")


def test_another_study_in_the_same_directory():
    snug("search study.toml")
    changed("epochs = 3", "epochs = 4")
    fails(snug("search study.toml"), 2, "runs/study: holds another study, study; go on with the file it began with")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    fails(snug("search study.toml"), 6, "search: needs sqlalchemy, not installed here: pip install 'snugnet[search]'")
