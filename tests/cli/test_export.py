"""`snug export`: what it writes, says and refuses; and files of it in the other commands."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

from command import fails, snug
from snugnet import artifact, runs
from snugnet.artifact import Shipped
from snugnet.export import runtime
from snugnet.ship import exporting

pytest.importorskip("onnxruntime")


@pytest.fixture
def run(finished: Path, elsewhere: Path) -> Path:
    shutil.copytree(finished, elsewhere / "run")
    return Path("run")


def test_onnx(run: Path):
    answer = snug("export run --format onnx --json")
    assert answer.code == 0, answer.err
    found = answer.json
    summary = runs.read(run).summary
    assert (found["path"], found["bytes"]) == ("run/model.onnx", (run / "model.onnx").stat().st_size)
    assert (found["ok"], found["split"], found["agreement"], found["least"]) == (True, "test", 1.0, 0.999)
    assert found["max_abs_diff"] < 1e-4
    assert found["run_accuracy"] == found["accuracy"] == summary["test"]
    assert found["splits"]["val"]["accuracy"] == summary["val"]
    assert (found["images"], found["run_bytes"]) == (359, summary["bytes"])
    assert min(found["p50_ms"], found["run_p50_ms"]) > 0
    assert [each.name for each in run.glob("model.*")]
    assert not list(run.glob("*unchecked*"))


@pytest.mark.usefixtures("run")
def test_in_words():
    answer = snug("export run -o there/net.onnx --raw --images 20")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == "there/net.onnx"
    assert "; the run's file has 83,176 B" in lines[1]
    assert lines[2].startswith("val, 20 images: the same class for 100.00 %, logits differ by up to ")
    assert lines[3].startswith("test, 20 images: ")
    assert lines[4].startswith("p50 ")
    assert not runtime.read(Path("there/net.onnx")).card.quantization
    assert runtime.opened(Path("there/net.onnx"))[2]


@pytest.mark.usefixtures("elsewhere")
def test_an_integer_net_says_how_it_agrees_with_its_floats(finished: Path):
    words = f'--set train.init_from="{finished}" --set quantize.weights=int8 --set train.epochs=1'
    assert (answer := snug(f"train snugnet/digits --run whole {words} --set train.optimizer.lr=0.001")).code == 0, (
        answer.err
    )
    answer = snug("export whole --json")
    assert answer.code == 0, answer.err
    assert (answer.json["least"], answer.json["agreement"] >= 0.99) == (0.99, True)
    assert answer.json["bytes"] < 40_000
    assert 0.5 < answer.json["float_agreement"] <= 1
    assert "; with the float run: " in snug("export whole --images 50").out
    assert snug("export whole --format torch --images 50 --json").json["max_abs_diff"] == 0


def test_a_torch_program_runs_alone(run: Path):
    answer = snug("export run --format torch --json")
    assert answer.code == 0, answer.err
    assert (answer.json["path"], answer.json["agreement"]) == ("run/model.pt2", 1.0)
    program = torch.export.load(run / "model.pt2").module()
    images = torch.randint(0, 256, (7, 1, 8, 8), dtype=torch.uint8)
    probabilities, logits = program(images)
    assert torch.equal(probabilities, logits.softmax(1))
    assert logits.shape == (7, 10)


def test_a_file_that_disagrees_keeps_the_name_that_says_so(run: Path, monkeypatch: pytest.MonkeyPatch):
    read = runtime.read

    def spoiled(path: Path) -> Shipped:
        found = read(path)
        inner = found.model.logits
        found.model.logits = lambda images: inner(images).roll(1, 1)
        return found

    monkeypatch.setattr(runtime, "read", spoiled)
    answer = snug("export run --json")
    assert answer.code == 5
    assert (answer.json["ok"], answer.json["path"]) == (False, "run/model.unchecked.onnx")
    words = (
        r"GateFailed: run/model.unchecked.onnx: gives 0.00 % of 143 val images the class that the run gives them, and"
    )
    assert words in answer.err
    assert " at least 99.90 % must (logits differ by up to " in answer.err
    assert ((run / "model.unchecked.onnx").exists(), (run / "model.onnx").exists()) == (True, False)


def test_numbers_that_are_none_agree_with_nothing():
    got, wanted = torch.eye(4), torch.eye(4)
    got[3, 0] = torch.nan
    found = exporting.agreement(got, wanted, torch.arange(4))
    assert (found.agreement, found.max_abs_diff) == (0.75, float("inf"))


def test_stored_predictions_are_taken_only_of_this_file(run: Path):
    assert snug("export run --json").json["agreement"] == 1
    labels = runs.read(run).predictions("test")[1]
    runs.Run.open(run).save_predictions("test", torch.randn(len(labels), 10), labels)
    assert snug("export run --json").json["agreement"] == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("run --format onxn", 2, "--format onxn: must be one of onnx, torch, did you mean 'onnx'?"),
        ("run -o net.bin", 2, "--output net.bin: must end in .onnx, as readers tell the format by it"),
        ("run --format torch -o net.onnx", 2, "--output net.onnx: must end in .pt2, as readers tell the format by it"),
        ("net.onnx", 2, "net.onnx: is exported already; give the run it came from"),
        ("none", 4, "none: no run here (there is no config.json); `snug train RECIPE --run none` makes one"),
        ("run --data cifar10", 4, "cifar10"),
        ("run --images 0", 2, "--images"),
        ("run -o run/config.json/net.onnx", 4, "cannot be written"),
    ],
)
@pytest.mark.usefixtures("run")
def test_what_cannot_be_exported(words: str, code: int, said: str):
    answer = snug(f"export {words}")
    assert (answer.code, said in answer.err) == (code, True), answer.err
    assert not list(Path().rglob("*.onnx"))


@pytest.mark.usefixtures("run")
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    fails(snug("export run"), 6, "MissingExtra: ONNX: needs onnx, not installed here: pip install 'snugnet[export]'")
    assert snug("export run --format torch --images 5").code == 0


@pytest.mark.usefixtures("run")
def test_the_other_commands_take_the_file():
    assert snug("export run").code == 0
    own, whole = (snug(f"evaluate {path} --data digits --json").json for path in ("run", "run/model.onnx"))
    assert own["accuracy"] == whole["accuracy"]
    assert own["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    views = [snug(f"evaluate {path} --data digits --tta mirror --json").json for path in ("run", "run/model.onnx")]
    assert views[0]["loss"] == pytest.approx(views[1]["loss"], abs=1e-5)
    compared = snug("compare run run/model.onnx --json").json
    first, second = compared["runs"]
    assert (first["accuracy"], first["params"]) == (second["accuracy"], second["params"])
    fails(snug("explain run/model.onnx"), 4, "run/model.onnx: no run here")


def test_the_library_reads_it(run: Path, finished: Path):
    import snugnet

    assert snug("export run --images 5").code == 0
    pixels = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    wanted, got = (snugnet.predict_images(path, pixels) for path in (finished, run / "model.onnx"))
    torch.testing.assert_close(wanted.probabilities, got.probabilities, rtol=1e-4, atol=1e-5)
    assert artifact.read(finished / "model.safetensors").card == runtime.read(run / "model.onnx").card
