"""What docs promise of each command to scripts: one JSON document with these fields, exit codes, words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from command import fails, snug
from snugnet import runs
from snugnet.report.ledger import read_ledger

TRAIN = {"run", "params", "bytes", "val", "test", "seconds"}
LEDGER = {*runs.LEDGER_FIELDS, "tta_test", "seconds", "hardware", "date", "command"}
PLAN = {"params", "macs", "size_mb", "bytes_fp32", "bytes_int8", "peak_activation_bytes", "ram_bytes", "fits", "layers"}

BENCH = {"p50_ms", "p90_ms", "p99_ms", "threads", "batch", "backend"}

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group of two seeds, its ledger beside it."""
    root = tmp_path_factory.mktemp("seeds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        answer = snug("train snugnet/digits --set train.epochs=1 --seeds 2 --run group --record --json")
    assert answer.code == 0, answer.err
    (root / "answer.json").write_text(answer.out)
    return root


def test_train(tmp_path: Path):
    answer = snug("train snugnet/digits --set train.epochs=1 --json")
    assert answer.code == 0
    assert answer.json.keys() >= TRAIN
    summary = runs.read(tmp_path / "runs" / "snugnet-digits-001").summary
    assert {name: answer.json[name] for name in TRAIN - {"run"}} == {name: summary[name] for name in TRAIN - {"run"}}
    assert answer.json["run"] == "runs/snugnet-digits-001"
    assert (tmp_path / "runs" / "snugnet-digits-001" / "report.html").is_file()
    assert "epoch 1/1  loss 2.2" in answer.err


def test_train_in_words(tmp_path: Path):
    answer = snug("train", "snugnet/digits", "--set", "train.epochs=1", "--run", tmp_path / "[b]" / "[/odd]")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("test accuracy ")
    assert "19,706 parameters, 83,176 B" in answer.out
    assert f"Report: {tmp_path}/[b]/[/odd]/report.html" in answer.out


def test_train_seeds(seeds: Path):
    answer = json.loads((seeds / "answer.json").read_text())
    assert answer.keys() >= {"runs", "mean", "std"}
    assert answer["runs"] == ["group/seed-0", "group/seed-1"]
    accuracies = [runs.read(seeds / each).summary["test"] for each in answer["runs"]]
    assert answer["mean"] == pytest.approx(sum(accuracies) / 2)
    assert answer["std"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)


def test_a_recorded_run_is_a_line_of_the_ledger(seeds: Path):
    lines = [json.loads(line) for line in (seeds / "results" / "ledger.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in lines] == [0, 1]
    assert all(line.keys() >= LEDGER for line in lines)
    assert lines[0]["command"].startswith("snug train snugnet/digits")
    assert [entry.seed for entry in read_ledger(seeds / "results" / "ledger.jsonl")] == [0, 1]


def test_a_group_goes_on_where_it_stopped(seeds: Path, tmp_path: Path):
    group = shutil.copytree(seeds / "group", tmp_path / "group")
    shutil.rmtree(group / "seed-1")
    answer = snug("resume group --json")
    assert answer.json["mean"] == json.loads((seeds / "answer.json").read_text())["mean"]
    again = runs.read(group / "seed-1")
    assert again.predictions("test")[0].equal(runs.read(seeds / "group" / "seed-1").predictions("test")[0])
    assert again.experiment.seed == 1


def test_a_stopped_group_says_how_to_go_on():
    stopped = snug("train snugnet/digits --seeds 2 --run group --stop-after 0")
    assert (stopped.code, stopped.out) == (0, "")
    assert stopped.err.endswith("nothing is lost; go on with: snug resume group\n")


def test_a_group_over_budget_leaves_nothing(tmp_path: Path):
    fails(snug("train snugnet/digits --seeds 2 --run group --budget params=1k"), 3, "18,706 over the budget of 1,000")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "verify"])
def test_a_group_is_not_one_run(seeds: Path, command: str):
    answer = snug(command, seeds / "group")
    fails(answer, 4, "group: holds the runs of several seeds; give one of them, as ")


def test_resume_of_a_finished_run_answers_the_same(finished: Path, tmp_path: Path):
    run = shutil.copytree(finished, tmp_path / "run")
    summary = (run / "summary.json").read_bytes()
    answer = snug("resume run --json")
    assert (answer.code, answer.json.keys() >= TRAIN) == (0, True)
    assert answer.json["test"] == json.loads(summary)["test"]
    assert (run / "summary.json").read_bytes() == summary


def test_stop_after_and_resume(finished: Path, tmp_path: Path):
    stopped = snug("train snugnet/digits --set train.epochs=2 --run run --stop-after 0")
    words = "--stop-after 0 s has passed: stopped in epoch 1, step 1, nothing is lost; go on with: snug resume run"
    assert (stopped.code, words in stopped.err) == (0, True)
    answer = snug("resume run --json")
    assert (answer.code, answer.json["test"]) == (0, runs.read(finished).summary["test"])
    assert (tmp_path / "run/model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_evaluate(finished: Path):
    answer = snug("evaluate", finished, "--json")
    fields = {"accuracy", "accuracy_interval", "loss", "macro_f1", "per_class", "ece", "confusion"}
    assert answer.json.keys() >= fields
    assert answer.json["accuracy"] == runs.read(finished).summary["test"]
    alone = snug("evaluate", finished / "model.safetensors", "--data", "digits", "--json")
    assert answer.json["changed"] == ["epochs 2"]
    assert alone.json == answer.json | {"changed": []}  # which a file alone cannot know
    assert "test accuracy" in snug("evaluate", finished).out


def test_compare(seeds: Path, finished: Path):
    answer = snug("compare", finished, seeds / "group", "--json")
    assert answer.json.keys() >= {"runs", "pareto", "tests"}
    assert len(answer.json["runs"]) == 3


def test_report(finished: Path, seeds: Path, tmp_path: Path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "report.html").unlink()
    answer = snug("report run --json")
    assert answer.json["path"] == "run/report.html"
    assert (run / "report.html").is_file()
    assert snug("report run -o out/run.html --json").json["path"] == "out/run.html"
    assert (tmp_path / "out" / "run.html").read_text() == (run / "report.html").read_text()
    several = snug("report", run, seeds / "group", "-o", "out/page.html", "--json")
    assert several.json["path"] == "out/page.html"
    assert (tmp_path / "out" / "page.html").is_file()


def test_verify(finished: Path, tmp_path: Path):
    run = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"expect": {"params": 19_706}}))
    answer = snug("verify run --json")
    assert (answer.code, answer.json["ok"], len(answer.json["checks"])) == (0, True, 1)
    (run / "config.json").write_text(json.dumps(config | {"expect": {"params": 19_705}}))
    short = snug("verify run --json")
    assert (short.json["ok"], short.json["checks"][0]["measured"]) == (False, 19_706)
    fails(short, 5, "run: falls short of its recipe's [expect] in params; see the lines above")


def test_plan():
    answer = snug("plan snugnet/digits --json")
    assert answer.code == 0
    assert answer.json.keys() >= PLAN
    assert (answer.json["params"], answer.json["fits"]) == (19_706, True)
    assert sum(layer["params"] for layer in answer.json["layers"]) == 19_706


def test_plan_over_budget_says_what_fits():
    answer = snug("plan snugnet/digits --budget params=10k --json")
    assert answer.json.keys() >= PLAN | {"excess", "suggestion"}
    assert answer.json["fits"] is False
    fails(answer, 3, "19,706 parameters, 9,706 over the budget of 10,000; the largest width multiplier that fits is ")
    fitting = snug(
        "plan", "snugnet/digits", "--budget", "params=10k", "--set", answer.json["suggestion"]["set"], "--json"
    )
    assert (fitting.code, fitting.json["fits"]) == (0, True)
    assert fitting.json["params"] == answer.json["suggestion"]["params"]


def test_plan_notes_what_is_rarely_meant():
    answer = snug("plan snugnet/digits --set model.stages.1.stride=8 --set model.stages.1.blocks=2 --budget params=300")
    assert " times of 300" in answer.out
    fails(answer, 3, "Note: model.stages.1: kernels of 3x3 read maps of 1x1, where 8 of 9 weights never matter;")


def test_design(tmp_path: Path):
    answer = snug("design --budget params=10k --like snugnet/digits -o small.toml --json")
    assert answer.json.keys() >= {"recipe", "params", "headroom"}
    assert answer.json["params"] <= 10_000
    assert (tmp_path / "small.toml").read_text() == answer.json["recipe"] + "\n"
    assert snug("plan small.toml --json").json["params"] == answer.json["params"]


def test_design_searches_where_no_recipe_is_given():
    answer = snug("design --budget params=20k,macs=2M -o small.toml --json")
    found = answer.json
    assert found.keys() >= {"recipe", "params", "headroom", "priced", "fitting", "seconds", "per_second", "ranked"}
    assert found["headroom"].keys() == {"params", "macs"}
    assert found["ranked"][0]["params"] == found["params"] <= 20_000
    assert found["per_second"] == found["priced"] / found["seconds"]
    assert snug("plan small.toml --json").json["params"] == found["params"]
    told = snug("design --budget params=10k --like snugnet/digits --search")
    assert "designs priced in " in told.err
    assert "snug design --budget params=10k --like snugnet/digits --search" in told.out


def test_recipes():
    answer = snug("recipes --json")
    fields = {"name", "source", "params", "published_accuracy", "measured_accuracy"}
    assert all(row.keys() >= fields for row in answer.json)
    assert "snugnet/digits" in [row["name"] for row in answer.json]


def test_show():
    answer = snug("show snugnet/digits --set train.epochs=3 --json")
    assert answer.json["train"]["epochs"] == 3
    text = snug("show snugnet/digits --set train.epochs=3").out
    assert "--set" in next(line for line in text.splitlines() if line.startswith("epochs"))


def test_doctor():
    answer = snug("doctor --json")
    assert answer.json.keys() >= {"ok", "torch", "device", "extras"}
    assert (answer.code, answer.json["ok"]) == (0, True)
    assert 0 < answer.json["bf16_divergence"] < 0.05
    assert answer.json["data"]["cifar10"] == "not on disk"


def test_demo_without_data_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from snugnet import recipe

    load = recipe.load
    monkeypatch.setattr(recipe, "load", lambda name: load(name, ["train.epochs=1"]))
    answer = snug("demo --json")
    assert answer.json.keys() >= {"run", "dataset", "params", "accuracy"}
    assert (answer.json["dataset"], answer.json["run"]) == ("digits", "runs/demo-001")
    assert "CIFAR-10 is not on disk and cannot be had (cifar10: SNUG_OFFLINE=1 forbids downloads" in answer.err
    assert "The demo uses scikit-learn's 8x8 digits." in answer.err
    assert (tmp_path / "runs" / "demo-001" / "report.html").is_file()


def test_lr_find(tmp_path: Path):
    answer = snug("lr-find snugnet/digits --steps 40 --high 5 -o curve.png --json")
    assert answer.code == 0, answer.err
    assert answer.json.keys() >= {"suggestion", "curve", "path"}
    rates = [point["lr"] for point in answer.json["curve"]]
    assert rates[0] == pytest.approx(1e-4)
    assert rates == sorted(rates)
    assert rates[0] < answer.json["suggestion"]["base"] < answer.json["suggestion"]["highest"] <= 5
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "step 4/40  lr " in answer.err
    assert snug("lr-find snugnet/digits --steps 40 --high 5").out.startswith("The loss falls from ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--low 1 --high 0.1", "low must be below high; got 1 and 0.1"),
        ("--steps 1", "steps: must be greater than or equal to 2; got 1"),
        ("--rise up", "rise: must be one of exponential, linear; got 'up'"),
        ("--smoothing 0", "smoothing: must be greater than 0; got 0"),
        ("--low nan", "low: must be"),
    ],
)
def test_lr_find_of_a_range_that_cannot_be_meant(options: str, words: str, tmp_path: Path):
    fails(snug(f"lr-find snugnet/digits {options}"), 2, words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_bench")
def test_bench(finished: Path):
    answer = snug(f"bench {finished} --windows 2 --window-s 0.01 --batch 2 --json")
    assert answer.code == 0, answer.err
    assert answer.json.keys() >= BENCH
    expected = {"threads": 1, "batch": 2, "backend": "torch", "windows": 2, "window_s": 0.01, "device": "cpu"}
    assert {name: answer.json[name] for name in expected} == expected
    assert (answer.json["params"], answer.json["bytes"]) == (19_706, 83_176)
    assert answer.json["p50_ms"] == pytest.approx(sum(answer.json["windows_ms"]) / 2, abs=1e-4)
    assert set(answer.json["ways_ms"]) == {"channels-first", "channels-last"}


@pytest.mark.usefixtures("quick_bench")
def test_bench_of_several_is_a_list(finished: Path):
    file = finished / "model.safetensors"
    answer = snug(f"bench {finished} {file} --windows 2 --window-s 0.01 --json")
    assert [each["path"] for each in answer.json] == [str(finished), str(file)]
    assert [each["test"] for each in answer.json] == [runs.read(finished).summary["test"], None]


def test_data_check_and_show(tmp_path: Path):
    answer = snug("data check digits --json")
    assert answer.json.keys() >= {"classes", "images", "problems"}
    assert answer.json["images"] == {"train": 1438, "test": 359}
    shown = snug("data show digits -o samples.png --set train.augment=[] --json")
    assert shown.json == {"path": "samples.png"}
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_but_the_document_is_on_stdout(finished: Path):
    for command in ("evaluate", "compare"):
        answer = snug(command, finished, "--json")
        assert answer.out.startswith("{")
        assert answer.out.endswith("}\n")


def test_a_recipe_with_foreign_code_asks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_blocks.py").write_text(
        "from torch import nn\n"
        "def Plain(block):\n"
        "    return nn.Conv2d(block.channels_in, block.channels_out, 3, block.stride, 1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = "snugnet/digits --set model.stages.0.block=own_blocks:Plain"
    fails(snug(f"plan {own}"), 2, "block own_blocks:Plain: runs foreign code, which needs permission")
    assert snug(f"plan {own} --allow-code --json").json["fits"]
    fails(snug(f"plan {own}"), 2, "then add --allow-code")  # the permission was for one command
