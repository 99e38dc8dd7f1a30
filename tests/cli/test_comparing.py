"""`snug compare`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from command import fails, snug
from snugnet import runs

pytestmark = pytest.mark.usefixtures("elsewhere", "run", "quick_bench")


@pytest.fixture
def run(finished: Path, elsewhere: Path) -> Path:
    """A run of its own, never timed."""
    path = Path(shutil.copytree(finished, elsewhere / "run"))
    (path / "bench.json").unlink(missing_ok=True)
    return path


def test_a_run_and_its_shipped_file_are_no_difference(run: Path):
    answer = snug(f"compare run {run / 'model.safetensors'} --json")
    assert answer.code == 0, answer.err
    (test,) = answer.json["tests"]
    assert test["verdict"] == (
        f"no difference: snugnet/digits and {run / 'model.safetensors'} predict the same class for all 359 test images"
    )
    assert answer.json["runs"][1].keys() >= {"path", "params", "seed"}
    assert (answer.json["runs"][1]["kind"], answer.json["runs"][1]["seed"]) == ("file", None)
    assert answer.json["runs"][0]["macs"] == answer.json["runs"][1]["macs"]
    assert answer.json["equal_flops"]["without"] == [str(run / "model.safetensors")]
    words = snug(f"compare run {run / 'model.safetensors'}")
    assert "no difference: snugnet/digits and " in words.out


def test_a_run_beside_itself():
    answer = snug("compare run run")
    assert "· no difference: run and run predict the same class for all 359 test images\n" in answer.out


def test_files_alone_are_judged_on_the_data_that_is_named(run: Path):
    answer = snug("compare run/model.safetensors --data digits --json")
    assert answer.json["groups"][0]["mean"] == runs.read(run).summary["test"]
    assert answer.json["curves"] == []


def test_what_was_timed_counts(run: Path):
    fails(snug("compare run --require p50_ms<10s"), 2, "p50_ms is not known: time it first with `snug bench run`")
    timing = snug("bench run --windows 1 --window-s 0.01 --json").json
    assert json.loads((run / "bench.json").read_text()).keys() == timing.keys() - {"path", "best", "times_best"}
    answer = snug("compare run --require p50_ms<10s --pick --json")
    assert answer.json["groups"][0]["p50_ms"] == timing["p50_ms"]
    assert (answer.json["picked"], answer.json["front"][-1]) == ("snugnet/digits", "p50_ms")


def test_training_flops_are_of_the_images_that_were_trained_on(run: Path):
    record = runs.read(run)
    images = 1438 - len(record.predictions("val")[1])
    assert [line["images"] for line in record.metrics] == [images] * 2
    row = snug("compare run --json").json["runs"][0]
    assert row["training_flops"] == 6 * record.summary["macs"] * images * 2


def test_larger_batches_are_not_kept(run: Path):
    assert snug("bench run --batch 2 --windows 1 --window-s 0.01").code == 0
    assert not (run / "bench.json").exists()


def test_nothing_fits():
    answer = snug("compare run --require bytes<1kB --pick --json")
    words = "GateFailed: --require bytes<1kB: none of 1 meets all; the nearest is snugnet/digits: bytes is 83,176 B, "
    fails(answer, 5, words)
    assert (answer.json["picked"], answer.json["choice"]["fitting"]) == (None, [])


def test_what_to_ship_in_words():
    answer = snug("compare run --require params<=19706,bytes<1MB --pick")
    assert "fits: snugnet/digits\n" in answer.out
    assert "ship snugnet/digits: the only one that fits\nits file: run/model.safetensors\n" in answer.out
    other = Path(shutil.copytree("run", "other"))
    summary = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps(summary | {"recipe": "other", "recipe_sha256": 64 * "0"}))
    assert "--split val chooses on val and keeps test to report\n" in snug("compare run other --pick").out
    assert "chosen on test" not in snug("compare run other --pick --split val").out


def test_everything_is_written_where_it_was_asked_for(elsewhere: Path):
    answer = snug("compare run --html p.html --csv t.csv --latex t.tex --figures figures")
    assert answer.code == 0, answer.err
    assert answer.out.endswith(
        "Written: t.csv\nWritten: t-runs.csv\nWritten: t.tex\nWritten: figures\nWritten: p.html\n"
    )
    made = {path.suffix for path in (elsewhere / "figures").iterdir()}
    assert made == {".pdf", ".png"}
    assert (elsewhere / "p.html").is_file()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("run --data digits", 2, "--data digits: is what shipped files are judged on, and none is given: leave it out"),
        ("run --split tset", 2, "--split tset: must be test or val, did you mean 'test'?"),
        ("run --require byts<1", 2, "--require 'byts<1': 'byts' is no measure, did you mean 'bytes'?"),
        (
            "run run/recipe.toml",
            2,
            "run/recipe.toml: is neither a run directory nor a shipped file (.safetensors, .onnx)",
        ),
        ("run nowhere.safetensors", 4, "nowhere.safetensors: no run here"),
        ("run run/checkpoint/last.safetensors", 4, "last.safetensors: "),
    ],
)
def test_what_cannot_be_compared(line: str, code: int, words: str):
    fails(snug(f"compare {line}"), code, words)
