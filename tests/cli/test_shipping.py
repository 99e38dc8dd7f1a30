"""`snug bench`: what it prints, records and refuses."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command import fails, snug
from snugnet import pipeline, runs
from snugnet.recipe import load
from snugnet.report.ledger import read_ledger
from snugnet.ship import bench

pytestmark = pytest.mark.usefixtures("quick_bench")
QUICK = "--windows 2 --window-s 0.01"


def test_in_words(finished: Path):
    answer = snug(f"bench {finished} {QUICK}")
    assert "timing" not in answer.err
    for words in (
        "p50, ms",
        "images/s",
        "83.2 kB",
        "19.7k",
        "batch 1, 1 thread on ",
        "median of 2 x 0.01 s after ",
    ):
        assert words in answer.out
    assert "nothing is folded, fused or compiled\n" in answer.out
    assert "is not timed\n" in answer.out


def test_a_group_is_all_of_its_seeds(finished: Path, elsewhere: Path):
    group = elsewhere / "group"
    for seed in (0, 1):
        shutil.copytree(finished, group / f"seed-{seed}")
    config = json.loads((finished / "config.json").read_text())
    (group / "seeds.json").write_text(json.dumps({"seeds": 2, "experiment": config}))
    (group / "recipe.toml").write_text("")
    answer = snug(f"bench group {QUICK} --json")
    assert [each["path"] for each in answer.json] == ["group/seed-0", "group/seed-1"]


def test_a_group_of_which_nothing_is_trained(finished: Path, elsewhere: Path):
    config = json.loads((finished / "config.json").read_text())
    (elsewhere / "group").mkdir()
    (elsewhere / "group" / "seeds.json").write_text(json.dumps({"seeds": 2, "experiment": config}))
    (elsewhere / "group" / "recipe.toml").write_text("")
    fails(snug("bench group"), 2, "group: none of its seeds has begun; `snug resume group` trains them")


def test_a_recorded_latency_is_the_line_of_the_run_again(finished: Path, elsewhere: Path):
    summary = runs.read(finished).summary
    ledger = elsewhere / "results" / "ledger.jsonl"
    runs.record_in_ledger(ledger, {name: value for name, value in summary.items() if name != "size_mb"})
    answer = snug(f"bench {finished} {QUICK} --record --json")
    assert answer.code == 0, answer.err
    before, after = read_ledger(ledger)
    assert (before.p50_ms, before.size_mb, before.latency) == (None, None, "")
    measured = {"p50_ms": answer.json["p50_ms"], "size_mb": summary["size_mb"], "latency": answer.json["latency"]}
    assert after == before.model_copy(update=measured)
    assert "median of 2 x 0.01 s" in after.latency


def test_a_recipe_is_timed_before_it_is_trained(elsewhere: Path):
    answer = snug(f"bench snugnet/digits {QUICK} --json")
    assert answer.code == 0, answer.err
    planned = snug("plan snugnet/digits --json").json
    assert (answer.json["params"], answer.json["bytes"]) == (planned["params"], planned["bytes_fp32"])
    assert (answer.json["what"], answer.json["test"]) == ("untrained weights", None)
    assert answer.json["latency"].startswith("batch 1, 1 thread on ")
    assert ", median of 2 x 0.01 s, untrained weights" in answer.json["latency"]
    assert not (elsewhere / "bench.json").exists()


def test_the_latency_of_a_recipe_stands_beside_its_last_recorded_run(finished: Path, elsewhere: Path):
    ledger, recipe = elsewhere / "results" / "ledger.jsonl", "own.toml"
    shutil.copy(finished / "recipe.toml", recipe)
    words = f"{recipe}: --record adds to what a run of this recipe left in results/ledger.jsonl, and there is none; "
    fails(snug(f"bench {recipe} {QUICK} --record"), 2, words + f"train it first: snug train {recipe} --record")
    experiment, _ = pipeline.prepared(load(recipe).experiment)  # the run was made with other values
    summary = runs.read(finished).summary | {"recipe_sha256": experiment.sha256}
    for seed in (0, 1):
        runs.record_in_ledger(ledger, summary | {"seed": seed})
    runs.record_in_ledger(ledger, summary | {"recipe_sha256": "another"})
    answer = snug(f"bench {recipe} {QUICK} --record --json")
    assert answer.code == 0, answer.err
    last = read_ledger(ledger)[-1]
    assert (last.seed, last.recipe_sha256) == (1, summary["recipe_sha256"])
    assert (last.p50_ms, last.latency) == (answer.json["p50_ms"], answer.json["latency"])


def test_ctrl_c_keeps_nothing(finished: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measure", interrupted)
    answer = snug(f"bench {finished} {QUICK} --record --json")
    fails(answer, 130, "Interrupted: bench: stopped; nothing is kept or recorded of a timing that has not ended\n")
    assert (answer.out, (elsewhere / "results").exists()) == ("", False)


def test_every_backend_and_the_best(finished: Path, elsewhere: Path):
    pytest.importorskip("onnxruntime")
    shutil.copytree(finished, elsewhere / "run")
    assert snug("export run --images 5 --json").code == 0
    answer = snug(f"bench run run/model.onnx --backend all {QUICK} --json")
    assert answer.code == 0, answer.err
    assert [(each["path"], each["backend"]) for each in answer.json] == [
        ("run", "torch"), ("run", "onnxruntime"), ("run", "c"), ("run/model.onnx", "onnxruntime")
    ]  # fmt: skip
    assert sorted(each["times_best"] for each in answer.json)[0] == 1
    assert [each["times_best"] for each in answer.json if each["best"]] == [1]
    first, second, _, _ = answer.json  # the net in C is rounded for the time alone, and does not count
    assert (first["test"], second["test"]) == (runs.read(finished).summary["test"], None)
    kept = json.loads((elsewhere / "run" / "bench.json").read_text())
    assert kept["p50_ms"] == min(first["p50_ms"], second["p50_ms"])
    shown = snug(f"bench run --backend all {QUICK}").out
    header, *rows = (line.split() for line in shown.splitlines()[:4])
    assert header == ["backend", "p50,", "ms", "x", "best", "p90", "p99", "images/s", "bytes", "test"]
    assert sorted(row[3] == "best" for row in rows) == [False, False, True]
    assert [row[:2] for row in rows] == [["run", "torch"], ["run", "onnxruntime"], ["run", "c"]]
    assert "onnxruntime: exported from the shipped file, fp32, norms folded, fused as it sees fit\n" in shown
    assert "windows take turns\n" in shown


@pytest.mark.usefixtures("elsewhere")
def test_a_recipe_in_every_backend():
    pytest.importorskip("onnxruntime")
    answer = snug(f"bench snugnet/digits --backend onnxruntime {QUICK} --starts 2 --json")
    assert (answer.json["what"], answer.json["cold_start_ms"]) == ("untrained weights", None)


def test_quick_and_what_is_given_beside_it(finished: Path):
    answer = snug(f"bench {finished} --quick --windows 2 --window-s 0.01 --starts 0 --json").json
    assert (answer["windows"], answer["window_s"], answer["starts"]) == (2, 0.01, 0)
    assert bench.QUICK == {"windows": 3, "window_s": 1.0, "starts": 1}


def test_backends_that_are_not_there(finished: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = "MissingExtra: ONNX: needs onnxruntime, not installed here: pip install 'snugnet[export]'"
    fails(snug(f"bench {finished} --backend onnxruntime {QUICK}"), 6, words)
    answer = snug(f"bench {finished} --backend all {QUICK} --json")
    assert [each["backend"] for each in answer.json] == ["torch", "c"]
    assert "Note: onnxruntime is left out: ONNX: needs onnxruntime" in answer.err
    (elsewhere / "net.onnx").write_bytes(b"")
    fails(snug(f"bench net.onnx {QUICK}"), 6, words)


def test_other_work_is_noted(finished: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "DISTURBED", 0.0)
    words = "ms: other work ran beside it; repeat it on a quiet machine\n"
    assert words in snug(f"bench {finished} {QUICK}").err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--batch 0", 2, "bench: batch: must be greater than or equal to 1; got 0"),
        ("--windows 0", 2, "bench: windows: must be greater than or equal to 1; got 0"),
        ("--threads 0", 2, "bench: threads: must be greater than or equal to 1; got 0"),
        ("--threads 9999", 2, "bench: threads: must be at most "),
        ("--window-s 0", 2, "bench: window_s: must be greater than 0; got 0"),
        ("--window-s nan", 2, "bench: window_s: must be"),
        ("--batch 1000000000000000000000", 2, "run: --batch 1000000000000000000000 takes about "),
        ("--starts -1", 2, "bench: starts: must be greater than or equal to 0; got -1"),
        ("--backend onnx", 2, "--backend onnx: must be one of torch, onnxruntime, c, all"),
        ("--device tpu", 2, "--device tpu: unknown device; give auto, cpu, cuda, cuda:1 or mps"),
        ("--batch 2 --record", 2, "bench: --record needs --batch 1, the latency of one image; got 2"),
    ],
)
def test_options_that_cannot_be_meant(elsewhere: Path, finished: Path, options: str, code: int, words: str):
    (elsewhere / "run").symlink_to(finished)
    fails(snug(f"bench run {options}"), code, words)
    assert not (elsewhere / "results").exists()


def damage(run: Path) -> None:
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("target", "spoil", "code", "words"),
    [
        ("nowhere", lambda run: None, 4, "nowhere: no such file; a finished run has its net in model.safetensors"),
        ("empty", lambda run: (run.parent / "empty").mkdir(), 4, "empty: no run here (there is no config.json); "),
        ("run", lambda run: (run / "summary.json").unlink(), 4, "run: is not finished; finish it with `snug resume "),
        ("run", lambda run: (run / "model.safetensors").unlink(), 4, "run/model.safetensors: no such file"),
        ("run", damage, 4, "run/model.safetensors: not a readable safetensors file ("),
        ("run/metrics.csv", lambda run: None, 4, "run/metrics.csv: not a readable safetensors file ("),
        ("net.onnx", lambda run: None, 4, "net.onnx: no such file; `snug export RUN` writes one"),
        ("net.onnx --backend torch", lambda run: None, 2, "net.onnx: --backend torch does not read ONNX files; leave"),
        (
            "run/model.safetensors --record", lambda run: None, 2,
            "run/model.safetensors: --record needs a run directory, and this is a file; give the run it came from",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_timed(
    elsewhere: Path, finished: Path, target: str, spoil: Callable[[Path], Any], code: int, words: str
):
    spoil(Path(shutil.copytree(finished, elsewhere / "run")))
    fails(snug(f"bench {target}"), code, words)
    assert not (elsewhere / "results").exists()
