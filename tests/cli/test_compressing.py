"""`snug compress`: what it prints and refuses, and that other commands take what it makes for an ordinary run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from command import fails, snug
from snugnet import runs

FIELDS = {"run", "bytes", "accuracy", "parent_accuracy"}


def test_from_a_run_to_a_smaller_one(finished: Path, elsewhere: Path):
    shutil.copytree(finished, elsewhere / "parent")
    answer = snug("compress parent --prune params=50% --json")
    assert answer.code == 0, answer.err
    found = answer.json
    assert found.keys() >= FIELDS
    assert found["run"] == "runs/snugnet-digits-pruned-001"
    parent, made = runs.read(Path("parent")).summary, runs.read(Path(found["run"])).summary
    assert made["params"] == found["params"] <= parent["params"] / 2
    assert found["bytes"] == Path(found["run"], "model.safetensors").stat().st_size
    assert (found["accuracy"], found["parent_accuracy"]) == (made["test"], parent["test"])
    assert found["pruned"]["groups"][0].keys() == {"layer", "layers", "before", "after"}
    assert "stem" in answer.err
    assert " channels to " in answer.err
    for line in ("compare parent {}", "report {}", "evaluate {}", "plan {}/recipe.toml", "resume {}"):
        other = snug(line.format(found["run"]))
        assert other.code == 0, other.err


def test_in_words_and_without_fine_tuning(finished: Path, elsewhere: Path):
    shutil.copytree(finished, elsewhere / "parent")
    answer = snug("compress parent --prune bytes=60kB --by bn_scale --scope uniform --epochs 0 --run small")
    assert answer.code == 0, answer.err
    for words in ("before", "pruned", "parameters", "MACs", "test accuracy", " points", "On the same test images: "):
        assert words in answer.out
    assert "right by the parent alone" in answer.out
    assert "Next:   snug compare parent small" in answer.out
    assert runs.read(Path("small")).metrics == []
    assert Path("small/report.html").is_file()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("", 2, "compress: must be told how; give --prune, for example --prune params=80k or --prune macs=50%"),
        ("--prune params=50% --by size", 2, "compress: by: must be one of bn_scale, magnitude, taylor; got 'size'"),
        ("--prune params=50% --floor 1", 2, "compress: floor: must be less than 1; got 1.0"),
        ("--prune param=50%", 2, "--prune param=50%: must be NAME=LIMIT with NAME one of params, bytes, macs, did you"),
        ("--prune params=19706", 2, "parent is within it already (19,706 parameters); give less"),
        ("--prune params=5", 3, "parent: must be pruned to 5 parameters, but is "),
        ("--prune params=50% --run parent", 2, "parent: holds a run; go on with it by `snug resume parent`"),
    ],
)
def test_what_cannot_be_meant(finished: Path, elsewhere: Path, options: str, code: int, words: str):
    (elsewhere / "parent").symlink_to(finished)
    fails(snug(f"compress parent {options}"), code, words)
    assert not (elsewhere / "runs").exists()


def test_a_run_that_is_not_finished(finished: Path, elsewhere: Path):
    shutil.copytree(finished, elsewhere / "parent")
    (elsewhere / "parent" / "summary.json").unlink()
    fails(snug("compress parent --prune params=50%"), 4, "parent: is not finished; finish it with `snug resume parent`")
