"""The library is what the commands do: the same numbers, the same words."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import snugnet
from small_runs import TINY, outcome
from snugnet import artifact
from snugnet.data import splits
from snugnet.data.config import DataConfig
from snugnet.data.loader import Normalize
from snugnet.errors import DataError, OverBudget, RecipeError, UsageError
from snugnet.train.loop import Epoch, Step
from test_documents import ROOT

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """Pixels uint8 (N, 1, 8, 8) and labels of the test split."""
    test = splits.open_test(DataConfig(name="digits"))
    assert isinstance(test.pixels, Tensor)
    return test.pixels, test.labels


def test_importing_is_light_and_offers_every_name():
    code = "import snugnet, sys; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)), dir(snugnet))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("[] [")
    assert all(f"'{name}'" in said for name in snugnet.__all__)


def test_no_name_is_that_of_a_module():
    """Importing snugnet.train would put the module in the function's place."""
    root = Path(snugnet.__file__).parent
    assert not {path.stem for path in root.iterdir()} & set(snugnet.__all__)
    assert all(getattr(snugnet, name).__doc__ for name in snugnet.__all__ if name.islower())
    assert all(isinstance(getattr(snugnet, name), type) for name in snugnet.__all__ if not name.islower())
    with pytest.raises(AttributeError, match=r"^module 'snugnet' has no attribute 'trian_recipe'$"):
        snugnet.trian_recipe  # noqa: B018


def test_a_recipe_in_every_form(tmp_path: Path):
    (tmp_path / "own.toml").write_text(TINY)
    as_dict = {
        "model": {"stages": [["basic", 1, 4]], "stem": {"stride": 2}},
        "data": {"name": "digits"},
        "train": {"epochs": 2, "batch_size": 512, "augment": [{"op": "crop", "padding": 1}]},
    }
    forms = [TINY, str(tmp_path / "own.toml"), tmp_path / "own.toml", as_dict, snugnet.load_recipe(TINY)]
    assert len({snugnet.load_recipe(form).experiment.sha256 for form in forms}) == 1
    changed = snugnet.load_recipe("snugnet/digits", {"train.epochs": 3, "train.optimizer": {"name": "sgd", "lr": 0.2}})
    assert (changed.experiment.train.epochs, changed.experiment.train.optimizer.lr) == (3, 0.2)
    assert snugnet.load_recipe("snugnet/digits", data="cifar10").experiment.data.name == "cifar10"
    assert snugnet.load_recipe("snugnet/digits", budget="params=5M").experiment.budget.params == 5_000_000


def test_what_a_recipe_cannot_be():
    with pytest.raises(RecipeError, match=r"^the dict: train\.epoch: unknown key, did you mean 'epochs'\?$"):
        snugnet.load_recipe({"model": {"stages": [["basic", 1, 4]]}, "train": {"epoch": 3, "epochs": 1}})
    with pytest.raises(
        RecipeError, match=r"^train\.clip_norm: must be a text, .*; got None: leave out what is to keep"
    ):
        snugnet.load_recipe(TINY, {"train.clip_norm": None})
    with pytest.raises(RecipeError, match=r"^changes: are made where a recipe is read"):
        snugnet.load_recipe(snugnet.load_recipe(TINY), {"seed": 1})


def test_a_price_is_held_to_a_budget():
    assert snugnet.price_recipe("snugnet/digits").params == 19_706
    words = (
        r"^snugnet/digits is 19,706 parameters, 14,706 over the budget of 5,000; the largest width multiplier that "
        r"fits is 0\.4\d\d \(4,\d\d\d parameters\): give --set model\.width=0\.4\d\d?$"
    )
    with pytest.raises(OverBudget, match=words):
        snugnet.price_recipe("snugnet/digits", "params=5k")
    assert snugnet.price_recipe("snugnet/digits", "params=5k", check=False).params == 19_706


def test_other_data_than_the_recipes():
    assert (
        snugnet.price_recipe(snugnet.load_recipe("snugnet/digits", data="cifar10", budget="params=1M")).params > 19_706
    )


def test_a_training_stops_and_goes_on_bitwise(tmp_path: Path):
    seen: list[Step | Epoch] = []
    whole = snugnet.train_recipe(TINY, tmp_path / "whole", seed=3, observe=seen.append)
    assert (len([fact for fact in seen if isinstance(fact, Step)]), len(seen)) == (6, 8)
    assert (whole.summary["seed"], len(whole.metrics), whole.path) == (3, 2, tmp_path / "whole")

    stopped = snugnet.train_recipe(TINY, str(tmp_path / "stopped"), seed=3, stop_after=0)
    assert stopped.summary == {}
    again = snugnet.resume_run(stopped)
    assert outcome(again.path) == outcome(whole.path)
    assert snugnet.open_run(again.path).summary["test"] == whole.summary["test"]


def test_a_training_over_budget_writes_nothing(tmp_path: Path):
    with pytest.raises(OverBudget, match="over the budget of 100"):
        snugnet.train_recipe(snugnet.load_recipe(TINY, budget="params=100"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match=r"^stop_after: a duration must be a number, or a number with one of "):
        snugnet.train_recipe(TINY, tmp_path / "run", stop_after="soon")


def test_evaluating_is_what_the_command_does(finished: Path):
    run = snugnet.open_run(finished)
    scores = snugnet.evaluate_run(run)
    assert scores["accuracy"] == run.summary["test"]
    of_file = snugnet.evaluate_run(finished / "model.safetensors", data="digits")
    assert of_file == scores | {"changed": []}  # which a file alone cannot know
    assert snugnet.evaluate_run(run, "val", tta="mirror")["tta"]["name"] == "mirror"
    with pytest.raises(
        UsageError, match=r"^split: must be one of train, val, test; got 'tset', did you mean 'test'\?$"
    ):
        snugnet.evaluate_run(run, "tset")
    with pytest.raises(UsageError, match=r"^tta: must be one of mirror, .*; got 'miror', did you mean 'mirror'\?$"):
        snugnet.evaluate_run(run, tta="miror")


def test_images_in_every_form(finished: Path, digits: tuple[Tensor, Tensor], tmp_path: Path):
    tensors = digits[0][:5]
    arrays = tensors.permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(array[..., 0]) for array in arrays]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    files = [tmp_path / f"{number}.png" for number in range(5)]
    expected = snugnet.predict_images(finished, tensors)
    assert expected.columns == tuple("0123456789")
    assert expected.probabilities.shape == (5, 10)
    assert expected.probabilities.sum(1).allclose(torch.ones(5))
    assert expected.classes == tuple(str(int(k)) for k in expected.probabilities.argmax(1))
    for form in (arrays, list(tensors), pictures, files, [str(file) for file in files], arrays[..., 0][..., None]):
        assert snugnet.predict_images(finished, form).probabilities.equal(expected.probabilities)
    for one in (tensors[0], arrays[0], arrays[0, ..., 0], pictures[0], files[0], str(files[0])):
        found = snugnet.predict_images(finished / "model.safetensors", one)
        torch.testing.assert_close(found.probabilities, expected.probabilities[:1])


def test_predictions_are_those_of_the_run(finished: Path, digits: tuple[Tensor, Tensor]):
    run = snugnet.open_run(finished)
    said = snugnet.predict_images(run, digits[0])
    assert said.probabilities.equal(run.predictions("test")[0].softmax(1))


def test_images_of_another_size_are_fitted_as_folders_are(finished: Path, digits: tuple[Tensor, Tensor]):
    large = digits[0][:1].repeat_interleave(3, 2).repeat_interleave(3, 3)
    as_picture = Image.fromarray(large[0, 0].numpy()).convert("RGBA")
    assert snugnet.predict_images(finished, large).probabilities.equal(
        snugnet.predict_images(finished, as_picture).probabilities
    )


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], r"^images: must be one or more; got none: give files, Pillow images, "),
        (3, r"^images: must be files, Pillow images, .*; got int$"),
        (torch.rand(2, 1, 8, 8), r"^image 0: must be uint8, 0 to 255, .*; got torch\.float32: from floats in \[0, 1\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"^image 0: the net takes 1 channels, .* \(C, H, W\) = \(3, 8, 8\)"),
        (torch.zeros(8, 8, dtype=torch.uint8), r"^image 0: the net takes 1 channels"),
        ([Image.new("L", (8, 8)), Image.new("F", (8, 8))], r"^image 1: its pixels are floating-point numbers; save it"),
        ("nowhere.png", r"^nowhere\.png: cannot be read as an image"),
    ],
)
def test_images_that_are_none(finished: Path, images: object, words: str):
    with pytest.raises(DataError, match=words):
        snugnet.predict_images(finished, images)


def test_any_net_is_judged(finished: Path, digits: tuple[Tensor, Tensor]):
    """The shipped net, taken for a stranger's, scores what its run scored."""
    shipped = artifact.read(finished / "model.safetensors")
    expected = json.loads((finished / "summary.json").read_text())["scores"]["test"]
    stranger: nn.Module = nn.Sequential(shipped.model)
    stranger.train()
    stranger[0].eval()
    by_data = snugnet.judge_net(stranger, data="digits")
    assert expected.items() <= json.loads(json.dumps(by_data)).items()
    assert (stranger.training, stranger[0].training) == (True, False)
    own = (shipped.card.normalization.mean, shipped.card.normalization.std)
    assert snugnet.judge_net(stranger, data="digits", normalize=own) == by_data
    assert snugnet.judge_net(stranger, data="digits", normalize=([0.0], [1.0])) != by_data
    prepared = Normalize(shipped.card.normalization, CPU)(digits[0])
    by_hand = snugnet.judge_net(stranger, prepared, digits[1])
    assert by_hand["confusion"] == by_data["confusion"]
    assert (by_hand["temperature"], by_data["temperature"] > 0) == (None, True)
    named = snugnet.judge_net(stranger, prepared, digits[1], classes="abcdefghij")
    assert [each["class"] for each in named["per_class"]] == list("abcdefghij")


def test_a_temperature_moves_probabilities_and_no_class(finished: Path):
    images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain, cooled = (snugnet.predict_images(finished, images, temperature=T) for T in (1.0, 2.0))
    assert cooled.classes == plain.classes
    assert torch.allclose(cooled.probabilities, (plain.probabilities.log() / 2).softmax(1), atol=1e-6)
    with pytest.raises(UsageError, match=r"^temperature: must be above 0; got 0; 1 changes nothing$"):
        snugnet.predict_images(finished, images, temperature=0.0)


def test_a_temperature_fitted_on_what_is_judged_is_said_to_be(finished: Path):
    said = snugnet.judge_net(artifact.read(finished / "model.safetensors").model, data="digits", split="val")
    assert said["temperature_note"] == "fitted on the very images that are judged, which flatters it"
    assert said["temperature"] == snugnet.evaluate_run(finished, "val")["temperature"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, r"^judge_net: takes float images .*; got images None, labels None, normalize None$"),
        (
            {"images": torch.zeros(2, 1, dtype=torch.uint8), "labels": torch.zeros(2)},
            r"got images uint8 \(2, 1\), labels",
        ),
        ({"images": torch.zeros(2, 64), "labels": torch.zeros(2)}, r"got images float32 \(2, 64\), labels"),
        (
            {"images": torch.zeros(2, 64), "data": "digits"},
            r"^judge_net: takes images with labels, or data, but got both",
        ),
        ({"data": "digits", "normalize": ([0.5], [0.0])}, r"^normalize: std\.0: must be greater than 0"),
        ({"data": "digits", "split": "all"}, r"^split: must be one of train, val, test; got 'all'"),
    ],
)
def test_what_cannot_be_judged(arguments: dict[str, object], words: str):
    with pytest.raises(UsageError, match=words):
        snugnet.judge_net(nn.Flatten(), **arguments)  # type: ignore[arg-type]


def test_a_net_without_logits_is_told_so():
    with pytest.raises(DataError, match=r"^the net must give logits \(N, classes\); got \(2, 3, 4, 4\)$"):
        snugnet.judge_net(nn.Identity(), torch.zeros(2, 3, 4, 4), torch.zeros(2))


def test_runs_are_compared(finished: Path, tmp_path: Path):
    twin = shutil.copytree(finished, tmp_path / "twin")
    comparison = snugnet.compare_runs(str(twin), snugnet.open_run(finished))
    assert [Path(row.path) for row in comparison.runs] == [twin, finished]


def test_the_example_of_the_documentation_runs(
    elsewhere: Path, digits: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.DOTALL)
    Image.fromarray(digits[0][0, 0].numpy()).save(elsewhere / "digit.png")
    names: dict[str, object] = {}
    exec(code, names)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "19,706 parameters"
    assert said[1].startswith(f"{snugnet.open_run('runs/digits').summary['test']} 83176 [0.")
    assert (len(said), names["losses"]) == (4, sorted(names["losses"]))  # type: ignore[call-overload]
    assert all(name in (ROOT / "docs/library.md").read_text() for name in snugnet.__all__ if name[0].islower())
