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
    for words in ("before", "after", "parameters", "MACs", "test accuracy", " points", "On the same test images: "):
        assert words in answer.out
    assert "right by the parent alone" in answer.out
    assert "Next:   snug compare parent small" in answer.out
    assert runs.read(Path("small")).metrics == []
    assert Path("small/report.html").is_file()


@pytest.mark.parametrize(("options", "share"), [("--float16", 0.55), ("--int8", 0.3), ("--int4 --epochs 1", 0.2)])
def test_fewer_bits(finished: Path, elsewhere: Path, options: str, share: float):
    shutil.copytree(finished, elsewhere / "parent")
    answer = snug(f"compress parent {options} --run small --json")
    assert answer.code == 0, answer.err
    parent, made = runs.read(Path("parent")).summary, runs.read(Path("small")).summary
    assert answer.json["bytes"] == made["bytes"] == Path("small/model.safetensors").stat().st_size
    assert made["bytes"] < share * parent["bytes"]
    assert made["params"] == parent["params"]
    if share > 0.25:  # 4 bits are a lot to lose, and one epoch is little to make up for it
        assert abs(made["test"] - parent["test"]) < 0.02
    assert runs.read(Path("small")).experiment.budget.bytes == runs.read(Path("parent")).experiment.budget.bytes
    for line in ("resume small", "report small", "evaluate small", "plan small/recipe.toml"):
        other = snug(line)
        assert other.code == 0, other.err
    if share < 0.5:
        words = "small: computes in rounded numbers, which have no gradients; explain the run it was made from"
        fails(snug("explain small"), 2, words)


def test_the_ladder_to_a_number_of_bytes(finished: Path, elsewhere: Path):
    shutil.copytree(finished, elsewhere / "parent")
    answer = snug("compress parent --to 9000 --epochs 1 --run small --json")
    assert answer.code == 0, answer.err
    found = answer.json
    assert found["bytes"] == Path("small/model.safetensors").stat().st_size <= 9000
    ladder = found["ladder"]
    assert [rung["format"] for rung in ladder if rung["channels"] is None] == ["float32", "float16", "int8", "int4"]
    (best,) = (rung for rung in ladder if rung["chosen"])
    fitting = [rung for rung in ladder if rung["bytes"] <= 9000]
    assert best["val_loss"] == min(rung["val_loss"] for rung in fitting)
    assert best["bytes"] == found["bytes"]
    assert "taken, of those that fit with the least loss on val: " in answer.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("", 2, "compress: must be told how; give --to 100kB, or --int8, --int4, --float16, or --prune, for example"),
        ("--prune params=50% --by size", 2, "compress: by: must be one of bn_scale, magnitude, taylor; got 'size'"),
        ("--prune params=50% --floor 1", 2, "compress: floor: must be less than 1; got 1.0"),
        ("--prune param=50%", 2, "--prune param=50%: must be NAME=LIMIT with NAME one of params, bytes, macs, did you"),
        ("--prune params=19706", 2, "parent is within it already (19,706 parameters); give less"),
        ("--prune params=5", 3, "parent: must be pruned to 5 parameters, but is "),
        ("--to 1", 3, "parent: must be shrunk to 1 B, but is "),
        ("--to much", 2, "--to much: "),
        ("--to 9kB --int8", 2, "compress: --to chooses the way itself; give it alone, or the way without it"),
        ("--int4 --int8", 2, "compress: --int8 and --int4: a net is kept in one format; give one"),
        ("--prune params=50% --run parent", 2, "parent: holds a run; go on with it by `snug resume parent`"),
        ("--prune params=50% --int8 --run parent", 2, "parent: holds a run; go on with it by `snug resume parent`"),
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


TWO_STEPS = "compress parent --prune params=50% --epochs 1 --int8 --run small"


def test_a_way_that_was_stopped_goes_on_to_its_end(finished: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    """Stopped in the first of two runs, and begun but not done with the second."""
    (elsewhere / "whole").mkdir()
    shutil.copytree(finished, elsewhere / "whole" / "parent")
    shutil.copytree(finished, elsewhere / "parent")
    monkeypatch.chdir(elsewhere / "whole")
    assert snug(TWO_STEPS).code == 0
    monkeypatch.chdir(elsewhere)
    stopped = snug(f"{TWO_STEPS} --stop-after 0")
    assert stopped.code == 0
    first = "runs/snugnet-digits-pruned-001"
    assert f"go on with: snug resume {first}" in stopped.err
    assert not Path("small").exists()
    answer = snug(f"resume {first}")
    assert answer.code == 0, answer.err
    assert f"{first} is finished; on its way to a smaller one follows small" in answer.err
    assert "On the same test images: " in answer.out
    assert "Next:   snug compare parent small" in answer.out
    for name in ("small/model.safetensors", f"{first}/model.safetensors"):
        assert Path(name).read_bytes() == (elsewhere / "whole" / name).read_bytes()
    for name in ("summary.json", "model.safetensors"):  # as if killed before it shipped
        Path("small", name).unlink()
    again = snug(f"resume {first} --json")
    assert again.json["run"] == "small"
    assert Path("small/model.safetensors").read_bytes() == Path("whole/small/model.safetensors").read_bytes()


def test_a_damaged_origin(finished: Path, elsewhere: Path):
    shutil.copytree(finished, elsewhere / "run")
    Path("run/compress.json").write_text('{"then": 3}')
    fails(snug("resume run"), 4, "run/compress.json: damaged (")
