from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from small_runs import TIMES, outcome, tiny
from snugnet import artifact, budget, pipeline, runs, scoring
from snugnet.data import splits
from snugnet.data.config import DataConfig
from snugnet.data.images import DataInfo, Images
from snugnet.errors import OutOfMemory, OverBudget, RecipeError, RunExists
from snugnet.evaluate.metrics import scores
from snugnet.memory import Memory, too_large
from snugnet.pipeline import Controls
from snugnet.train import loop
from snugnet.train.loop import Epoch

FLOWERS = DataInfo("flowers", ("rose", "tulip", "lily"), channels=3, image_size=16)


def test_a_run_and_its_repetition_are_bitwise_equal(tmp_path: Path):
    for name in ("a", "b"):
        pipeline.start(tiny("train.ema.decay=0.9"), tmp_path / name, Controls())
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b")


def test_another_seed_is_another_run(tmp_path: Path):
    for seed in (0, 1):
        pipeline.start(tiny(f"seed={seed}"), tmp_path / f"{seed}", Controls())
    first, second = outcome(tmp_path / "0"), outcome(tmp_path / "1")
    assert first["artifact"] != second["artifact"]
    assert first["metrics"] != second["metrics"]
    assert first["summary"]["recipe_sha256"] == second["summary"]["recipe_sha256"]


def test_the_test_split_is_opened_once_and_after_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    events: list[str] = []
    opened, fitted, shipped = splits.open_test, loop.fit, artifact.write

    def open_test(config: DataConfig) -> Images:
        events.append("test opened")
        return opened(config)

    def fit(*values: object) -> object:
        yield from fitted(*values)
        events.append("trained")

    def write(*values: object) -> int:
        events.append("shipped")
        return shipped(*values)

    monkeypatch.setattr(splits, "open_test", open_test)
    monkeypatch.setattr(loop, "fit", fit)
    monkeypatch.setattr(artifact, "write", write)
    pipeline.start(tiny(), tmp_path / "run", Controls())
    assert events == ["trained", "shipped", "test opened"]


def test_training_cannot_reach_the_test_split():
    """The loop is given train and val; nothing that it imports opens data."""
    assert not vars(loop).keys() & {"splits", "sources", "open_test", "open_splits", "open_source"}


def test_over_budget_reads_no_pixel_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("data was touched")

    for name in ("open_splits", "open_test"):
        monkeypatch.setattr(splits, name, touched)
    monkeypatch.setattr("snugnet.data.digits.Digits.read", touched)
    cost = budget.price(pipeline.planned_card(tiny().experiment))
    with pytest.raises(OverBudget, match=rf"^the design is {cost.params} parameters, 1 over the budget of"):
        pipeline.start(tiny(f"budget.params={cost.params - 1}"), tmp_path / "run", Controls())
    assert list(tmp_path.iterdir()) == []


def test_exactly_at_the_budget_trains(tmp_path: Path):
    cost = budget.price(pipeline.planned_card(tiny().experiment))
    limits = (f"budget.params={cost.params}", f"budget.bytes={cost.bytes_fp32}")
    summary = pipeline.start(tiny(*limits, "train.epochs=1"), tmp_path / "run", Controls())
    assert (summary["params"], summary["bytes"], summary["size_mb"]) == (cost.params, cost.bytes_fp32, cost.size_mb)
    assert summary["bytes"] == (tmp_path / "run" / "model.safetensors").stat().st_size


def test_an_existing_run_is_found_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(pipeline, "planned_card", lambda *_, **__: pytest.fail("was priced"))
    with pytest.raises(RunExists):
        pipeline.start(tiny(), tmp_path, Controls())


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    summary = pipeline.start(tiny("train.epochs=1"), tmp_path / "run", Controls())
    monkeypatch.setattr(loop, "fit", lambda *_: pytest.fail("was trained"))
    assert pipeline.resume(tmp_path / "run", Controls()) == summary


def test_scores_are_those_of_the_file(tmp_path: Path):
    summary = pipeline.start(tiny(), tmp_path / "run", Controls())
    shipped = artifact.read(tmp_path / "run" / "model.safetensors")
    images = splits.open_test(tiny().experiment.data)
    logits = scoring.logits_of(shipped, images, torch.device("cpu"))
    assert summary["scores"]["test"] == json.loads(
        json.dumps(scores(logits, images.labels, shipped.card.classes).plain())
    )
    assert torch.equal(runs.read(tmp_path / "run").predictions("test")[0], logits)


def test_the_best_epoch_ships_when_the_recipe_says_so(tmp_path: Path):
    seen: list[Epoch] = []
    recipe = tiny("train.keep=best", "train.epochs=6", "train.optimizer.lr=3.0")
    summary = pipeline.start(recipe, tmp_path / "run", Controls(observe=lambda each: seen.append(each)))
    accuracies = [each.val_accuracy for each in seen if isinstance(each, Epoch)]
    assert summary["epoch"] == accuracies.index(max(accuracies)) + 1  # the first of equals
    assert summary["val"] == pytest.approx(max(accuracies), abs=0.02)  # chosen in bf16, judged in fp32
    assert summary["weights"] == "best"


@pytest.mark.parametrize(("ema", "weights"), [((), "last"), (("train.ema.decay=0.9",), "ema")])
def test_the_record_says_which_weights_shipped(tmp_path: Path, ema: tuple[str, ...], weights: str):
    summary = pipeline.start(tiny("train.epochs=1", *ema), tmp_path / "run", Controls())
    assert (summary["weights"], summary["epoch"], summary["trained_on"]) == (weights, 1, "train")


def test_trained_on_everything_val_is_null(tmp_path: Path):
    recipe = tiny("data.train_on=all", "train.epochs=1", "train.keep=best")
    summary = pipeline.start(recipe, tmp_path / "run", Controls())
    assert (summary["val"], summary["trained_on"]) == (None, "all")
    assert summary["test"] is not None


def test_a_net_is_made_for_its_data():
    fitted = pipeline.adapted(tiny().experiment, FLOWERS)
    assert (fitted.model.classes, fitted.model.in_channels, fitted.model.image_size) == (3, 3, 16)


def test_a_size_given_by_the_recipe_must_agree_with_the_data():
    given = tiny("model.classes=10", "model.image_size=8").experiment
    with pytest.raises(RecipeError) as caught:
        pipeline.adapted(given, FLOWERS)
    assert caught.value.problems == (
        "model.classes: must be 3 for flowers, but the recipe gives 10; leave it out, or correct it",
        "model.image_size: must be 16 for flowers, but the recipe gives 8; leave it out, or correct it",
    )
    assert pipeline.adapted(given, FLOWERS, force=True).model.classes == 3


@pytest.mark.parametrize(
    "error", [RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), MemoryError()]
)
def test_memory_that_ran_out_names_a_smaller_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception):
    def fit(*_: object) -> object:
        raise error
        yield

    monkeypatch.setattr(loop, "fit", fit)
    words = (
        r"^train.batch_size = 512 takes about .*B of memory, and .*B are free; "
        r"set train.accumulate=2, or train.batch_size=256$"
    )
    with pytest.raises(OutOfMemory, match=words):
        pipeline.start(tiny(), tmp_path / "run", Controls())


def test_other_errors_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fit(*_: object) -> object:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        yield

    monkeypatch.setattr(loop, "fit", fit)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        pipeline.start(tiny(), tmp_path / "run", Controls())


@pytest.mark.parametrize(
    ("free", "batch", "remedy"),
    [
        (10_000, 100, "set train.accumulate=2, or train.batch_size=64"),
        (1_000, 100, "set train.accumulate=25, or train.batch_size=4"),
        (10_000, 64, "set train.accumulate=2, or train.batch_size=32"),
        (300, 64, "choose a narrower net"),
        (10_000, 2, "choose a narrower net"),
    ],
)
def test_a_batch_that_fits_is_a_power_of_two_below_the_one_that_did_not(free: int, batch: int, remedy: str):
    assert too_large(Memory(fixed=100, per_image=100), batch, free).endswith(remedy)


def test_the_summary_is_the_same_whoever_writes_it(tmp_path: Path):
    summary = pipeline.start(tiny("train.epochs=1"), tmp_path / "run", Controls())
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert written == json.loads(json.dumps(summary))
    assert written.keys() >= TIMES
