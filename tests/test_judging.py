from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from snugnet import judging, runs, scoring
from snugnet.data import splits
from snugnet.data.config import Normalization
from snugnet.data.images import Images
from snugnet.data.loader import Normalize
from snugnet.errors import ArtifactError, DataError, RecipeError, UsageError
from snugnet.evaluate.calibration import temperature
from snugnet.evaluate.metrics import calibration_error, negative_log_likelihood
from snugnet.evaluate.tta import TtaConfig
from snugnet.judging import Asked


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def expecting(run: Path, **expect: Any) -> Path:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"expect": expect}))
    return run


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("split", ["test", "val"])
def test_evaluating_again_gives_the_scores_of_the_run(run: Path, split: str):
    again = judging.evaluate(run, split)
    assert (again["split"], again["data"], again["tta"], again["corruption"]) == (split, "digits", None, None)
    assert (again["gap"], again["train_accuracy"], again["images_in_split"]) == (None, None, again["images"])
    stored = runs.read(run).summary["scores"][split]
    assert plain({name: again[name] for name in stored}) == stored


def test_the_shipped_file_alone_gives_the_same_answer(run: Path, tmp_path: Path):
    alone = Path(shutil.move(run / "model.safetensors", tmp_path / "alone.safetensors"))
    shutil.copy(alone, run / "model.safetensors")
    whole = plain(judging.evaluate(run, "test")) | {"changed": []}  # which a file alone cannot know
    assert plain(judging.evaluate(alone, "test", "digits")) == whole


def test_the_temperature_is_fitted_on_val(run: Path):
    got, record = judging.evaluate(run, "test"), runs.read(run)
    best = temperature(*record.predictions("val"))
    logits, labels = record.predictions("test")
    assert best is not None
    assert got["temperature"] == pytest.approx(best)
    assert (got["temperature_images"], got["temperature_note"]) == (len(record.predictions("val")[1]), None)
    assert got["loss_scaled"] == pytest.approx(negative_log_likelihood(logits / best, labels), rel=1e-5)
    assert got["ece_scaled"] == pytest.approx(calibration_error(logits / best, labels), abs=1e-5)


def test_predictions_that_are_not_of_the_file_are_not_believed(run: Path):
    fresh = judging.evaluate(run, "test")["temperature"]
    logits, labels = runs.read(run).predictions("val")
    files = run / "predictions" / "val.safetensors"
    for stale in ({"logits": 2 * logits, "labels": labels}, {"logits": logits[1:], "labels": labels[1:]}):
        files.write_bytes(save(stale))
        assert judging.evaluate(run, "test")["temperature"] == fresh
    files.unlink()
    assert judging.evaluate(run, "test")["temperature"] == fresh


def test_stored_predictions_are_not_made_again(run: Path, monkeypatch: pytest.MonkeyPatch):
    looked = []
    look = scoring.Net.look
    monkeypatch.setattr(
        scoring.Net, "look", lambda net, images, tta=None: looked.append(len(images)) or look(net, images, tta)
    )
    judging.evaluate(run, "test")
    assert looked == [359, judging.PROBE]
    looked.clear()
    judging.evaluate(run, "val")
    assert len(looked) == 1
    monkeypatch.setattr(judging, "SAMPLE", 20)
    looked.clear()
    assert judging.evaluate(run, "test", tta=TtaConfig(name="mirror"))["temperature_images"] == 20
    assert looked == [359, 20]


def test_on_val_itself_the_temperature_flatters(run: Path):
    note = "fitted on the very images that are judged, which flatters it"
    assert judging.evaluate(run, "val")["temperature_note"] == note


def test_without_val_there_is_no_temperature_and_it_is_said(run: Path):
    config = json.loads((run / "config.json").read_text())
    config["data"]["train_on"] = "all"
    (run / "config.json").write_text(json.dumps(config))
    got = judging.evaluate(run, "test")
    empty = "the val split is empty because the recipe trains on it (`--set data.train_on=train`)"
    assert got["temperature_note"] == f"no temperature is fitted: {empty}"
    with pytest.raises(DataError) as caught:
        judging.evaluate(run, "val")
    assert str(caught.value) == f"digits: {empty}; choose another with --split"
    assert [got[name] for name in ("temperature", "loss_scaled", "ece_scaled", "temperature_images")] == [None] * 3 + [
        0
    ]


def test_mistakes_and_pairs_are_the_confusion_s(run: Path):
    got = judging.evaluate(run, "test")
    logits, labels = runs.read(run).predictions("test")
    sure, predicted = logits.softmax(1).max(1)
    first, *_ = got["mistakes"]
    wrong = predicted != labels
    assert first["probability"] == pytest.approx(sure[wrong].max().item())
    assert (int(first["true"]), int(first["predicted"])) == (labels[first["index"]], predicted[first["index"]])
    assert len(got["mistakes"]) == judging.MOST_MISTAKES
    worst = got["confused"][0]
    assert got["confusion"][int(worst["true"])][int(worst["predicted"])] == worst["images"]
    assert worst["share"] == worst["images"] / sum(got["confusion"][int(worst["true"])])
    assert worst["share"] == max(
        row[p] / sum(row) for t, row in enumerate(got["confusion"]) for p in range(10) if p != t
    )


def test_the_gap_is_train_over_the_split(run: Path):
    got = judging.evaluate(run, "test", tta=TtaConfig(name="mirror"), asked=Asked(gap=True))
    assert got["train_accuracy"] == judging.evaluate(run, "train")["accuracy"]
    assert got["gap"] == got["train_accuracy"] - got["tta"]["accuracy_without"]
    assert got["train_images"] == 1438 - got["temperature_images"]


def test_a_sample_is_the_first_of_the_split(run: Path):
    got = judging.evaluate(run, "test", asked=Asked(count=100, gap=True))
    logits, labels = (part[:100] for part in runs.read(run).predictions("test"))
    assert (got["images"], got["images_in_split"], got["train_images"]) == (100, 359, 100)
    assert got["accuracy"] == (logits.argmax(1) == labels).double().mean().item()
    with pytest.raises(UsageError, match=r"^--images 360: digits: its test split has 359 images; give at most that$"):
        judging.evaluate(run, "test", asked=Asked(count=360))


def test_corruption_is_held_against_the_same_images(run: Path):
    got = judging.evaluate(run, "test", asked=Asked(count=100, corrupt=("blur", "contrast")))
    found = got["corruption"]
    assert (found["images"], found["clean"]) == (100, got["accuracy"])
    assert [row["name"] for row in found["corruptions"]][-2:] == ["zoom_blur", "contrast"]
    assert found["relative_drop"] == pytest.approx(1 - found["mean"] / found["clean"])
    assert (
        got["corruption"]
        == judging.evaluate(run, "test", asked=Asked(count=100, corrupt=("blur", "contrast")))["corruption"]
    )


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("jpg", r"^--corrupt jpg: must be one of all, noise, .*, did you mean 'jpeg'\?$"),
        ("saturate", r"^--corrupt saturate: needs images with 3 channels; these have 1; leave it out$"),
        ("", r"^--corrupt : must be one of all, noise, "),
    ],
)
def test_a_corruption_that_cannot_be(run: Path, word: str, words: str):
    with pytest.raises(UsageError, match=words):
        judging.evaluate(run, "test", asked=Asked(corrupt=(word,)))


def test_any_module_goes_through_the_same_judge(run: Path):
    shipped = judging.artifact.read(run / "model.safetensors")
    config = runs.read(run).experiment.data
    found = splits.open_splits(config)
    test, constants = splits.open_test(config), shipped.card.normalization
    module = shipped.model.train()
    module.stem.eval()
    val = (found.val.pixels, found.val.labels)
    got = judging.score_module(module, test.pixels, test.labels, shipped.card.classes, normalization=constants, val=val)
    assert plain(got).items() <= plain(judging.evaluate(run, "test")).items()
    assert (module.training, module.stem.training) == (True, False)
    floats = Normalize(constants, torch.device("cpu"))(test.pixels)
    before = floats.clone()
    again = judging.score_module(module, floats, test.labels, shipped.card.classes)
    assert again["accuracy"] == got["accuracy"]
    assert again["temperature_note"] == "no temperature is fitted: the val split is empty"
    assert torch.equal(floats, before)


def test_pixels_without_a_normalisation_are_refused():
    net, labels = torch.nn.Flatten(), torch.zeros(2, dtype=torch.int64)
    words = r"^score_module: images of torch.uint8: uint8 come with a normalisation$"
    with pytest.raises(UsageError, match=words):
        judging.score_module(net, torch.zeros(2, 1, 2, 2, dtype=torch.uint8), labels, "abcd")
    constants = Normalization(mean=(0.5,), std=(0.5,))
    words = r"images of torch.float32: float, which are normalised already, come without a normalisation$"
    with pytest.raises(UsageError, match=words):
        judging.score_module(net, torch.zeros(2, 1, 2, 2), labels, "abcd", normalization=constants)


def test_images_of_another_size_are_refused(run: Path):
    shipped = judging.artifact.read(run / "model.safetensors")
    images = Images(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), None)
    words = r"model.safetensors: takes images \(1, 8, 8\), but cifar10 has \(3, 32, 32\)$"
    with pytest.raises(ArtifactError, match=words):
        judging.check_compatible(shipped, images, shipped.card.classes, "cifar10")


def test_other_classes_are_refused(run: Path):
    shipped = judging.artifact.read(run / "model.safetensors")
    images = Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), None)
    words = r"knows the classes 0, 1, 2, 3, 4\.\.\., but pets has cat, dog\.\.\.; labels would not mean the same$"
    with pytest.raises(ArtifactError, match=words):
        judging.check_compatible(shipped, images, ("cat", "dog"), "pets")


def test_an_empty_split(run: Path):
    config = json.loads((run / "config.json").read_text())
    config["data"]["val_fraction"] = 0.0
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"^digits: its val split is empty; choose another with --split$"):
        judging.evaluate(run, "val")


@pytest.mark.parametrize("judge", [judging.verify, lambda path: judging.evaluate(path, "test")])
def test_an_unfinished_run_is_not_judged(run: Path, judge: Any):
    (run / "summary.json").unlink()
    with pytest.raises(ArtifactError, match=r"run: is not finished; finish it with `snug resume .*run`$"):
        judge(run)


def test_a_recipe_that_expects_nothing(run: Path):
    config = json.loads((run / "config.json").read_text())
    del config["expect"]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError, match=r"its recipe has no \[expect\] table; there is nothing to verify$"):
        judging.verify(run)


def test_what_is_expected_is_held_to_exactly(run: Path):
    summary = runs.read(run).summary
    facts = {name: summary[name] for name in ("params", "bytes", "epochs")}
    assert [check["ok"] for check in judging.verify(expecting(run, **facts))] == [True] * 3
    wrong = {name: value + 1 for name, value in facts.items()}
    assert [check["ok"] for check in judging.verify(expecting(run, **wrong))] == [False] * 3


@pytest.mark.parametrize(
    ("std", "below", "ok"),
    [(0.01, 0.0299, True), (0.01, 0.0301, False), (None, 0.0089, True), (None, 0.0091, False), (0.0, 0.0089, True)],
)
def test_accuracy_may_lie_three_spreads_below(run: Path, std: float | None, below: float, ok: bool):
    accuracy = runs.read(run).summary["test"] + below
    expect = {"accuracy": accuracy} | ({} if std is None else {"accuracy_std": std})
    (check,) = judging.verify(expecting(run, **expect))
    assert (check["name"], check["ok"]) == ("test accuracy", ok)


def test_no_test_split_falls_short_of_an_accuracy(run: Path):
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"test": None}))
    (check,) = judging.verify(expecting(run, accuracy=0.1))
    assert (check["measured"], check["ok"]) == (None, False)
