"""Shipped weights that go on with images of the user's own: what is taken, what is fresh, what is decided."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

import snugnet
from command import fails, snug
from small_runs import TINY, outcome
from snugnet import artifact, finetune, lineage, nets, pipeline, recipe
from snugnet.data import splits
from snugnet.data.config import Normalization
from snugnet.errors import Interrupted, RecipeError
from snugnet.models import resnet
from snugnet.pipeline import Controls
from snugnet.recipe import Experiment
from snugnet.stopping import Stopper

NET, FRESH = "model.safetensors", {"head.classifier.weight", "head.classifier.bias"}

pytestmark = pytest.mark.usefixtures("here")


def pictures(root: Path, name: str, split: str, count: int, level: int) -> None:
    """Grey pictures of a class, brighter by its level."""
    folder = root / split / name
    folder.mkdir(parents=True)
    for number in range(count):
        random = np.random.default_rng([level, number, len(split)])
        Image.fromarray((random.integers(0, 120, (9, 12)) + level).astype(np.uint8)).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory: `tiny.toml`, trained on digits with other values than defaults into `parent`; `pets`, twice
    as many grey cats as dogs."""
    root = tmp_path_factory.mktemp("family")
    (root / "tiny.toml").write_text(TINY)
    changes = ["train.optimizer.lr=0.2", "train.stop.patience=5", "train.schedule.name=linear", "train.mix.name=mixup"]
    pipeline.start(recipe.parse(TINY, "tiny.toml", "tiny", changes), root / "parent", Controls())
    for split, cats in (("train", 12), ("val", 4), ("test", 4)):
        pictures(root / "pets", "cat", split, cats, 0)
        pictures(root / "pets", "dog", split, cats // 2, 130)
    return root


@pytest.fixture
def here(family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    shutil.copytree(family, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNUG_CACHE", str(tmp_path / "cache"))
    return tmp_path


def begun(loaded: recipe.Recipe, *, force: bool = False) -> tuple[dict[str, torch.Tensor], Experiment]:
    """The state that a training begins with."""
    experiment, _ = pipeline.prepared(loaded.experiment, force=force)
    found = lineage.find(experiment)
    assert found is not None
    experiment = experiment.model_copy(update={"parent": found.parent})
    return nets.initial_model(experiment, splits.open_splits(experiment.data)).state_dict(), experiment


# which tensors


@pytest.mark.parametrize(("there", "here_"), [(1, 3), (3, 1), (3, 2)])
def test_an_image_of_equal_channels_gets_the_response_it_had(there: int, here_: int):
    random = torch.Generator().manual_seed(0)
    filters, grey = torch.randn(4, there, 3, 3, generator=random), torch.rand(2, 1, 8, 8, generator=random)
    made = lineage.for_channels(filters, here_)
    assert made.shape == (4, here_, 3, 3)
    before, after = (F.conv2d(grey.expand(-1, w.shape[1], -1, -1), w) for w in (filters, made))
    torch.testing.assert_close(after, before)


def test_all_but_the_classifier_is_taken():
    state, experiment = begun(finetune.own_data("parent", "pets"))
    expected = load_file(f"parent/{NET}")
    fresh = resnet.build(experiment.model).state_dict()
    for name, value in expected.items():
        if name == "stem.conv.weight":
            assert torch.equal(state[name], value.expand(-1, 3, -1, -1) / 3)
        elif name not in FRESH:
            assert torch.equal(state[name], value), name
    assert state["head.classifier.weight"].shape == fresh["head.classifier.weight"].shape == (2, 4)
    again, _ = begun(finetune.own_data("parent", "pets"))
    other, _ = begun(finetune.own_data("parent", "pets", seed=1))
    assert torch.equal(state["head.classifier.weight"], again["head.classifier.weight"])
    assert not torch.equal(state["head.classifier.weight"], other["head.classifier.weight"])


def test_the_same_classes_keep_their_classifier():
    state, _ = begun(finetune.own_data("parent", "digits"))
    assert all(torch.equal(state[name], value) for name, value in load_file(f"parent/{NET}").items())


def test_classes_of_other_names_are_others():
    shipped = artifact.read(Path(f"parent/{NET}"))
    names = tuple("abcdefghij")
    assert set(lineage.transfer(shipped, shipped.card.model, names).fresh) == FRESH
    swapped = (*shipped.card.classes[::-1],)
    assert set(lineage.transfer(shipped, shipped.card.model, swapped).fresh) == FRESH


def test_a_recipe_alone_is_as_strict_as_ever():
    words = r"must hold the tensors of the net, but stem\.conv\.weight is \(4, 1, 3, 3\) in the file and \(4, 3, 3, 3\)"
    loaded = recipe.load("tiny.toml", ["train.init_from=parent", "data.name=pets", "data.image_size=8"])
    with pytest.raises(RecipeError, match=words):
        begun(loaded)
    begun(
        recipe.load(
            "tiny.toml", ["train.init_from=parent", "train.transfer=true", "data.name=pets", "data.image_size=8"]
        )
    )


def test_a_transfer_from_nothing():
    words = r"^tiny\.toml:7: train: transfer says how the weights of init_from are taken; give init_from as well$"
    with pytest.raises(RecipeError, match=words):
        recipe.load("tiny.toml", ["train.transfer=true"])


# what is decided


def test_what_was_learned_with_stays_and_the_training_is_short():
    experiment = finetune.own_data("parent", "pets").experiment
    train = experiment.train
    assert (experiment.name, experiment.model.stages[0].channels) == ("tiny-pets", 4)
    assert (train.epochs, train.batch_size, train.optimizer.lr, train.schedule.name) == (30, 64, 0.02, "cosine")
    assert (train.init_from, train.transfer, train.stop, train.schedule.warmup_epochs) == ("parent", True, None, 1)
    assert (len(train.augment), train.mix and train.mix.name) == (1, "mixup")
    assert (experiment.data.image_size, experiment.data.normalize) == (8, "train")  # digits have one channel
    kept = finetune.own_data("parent", "digits").experiment.data
    assert kept.normalize == artifact.read(Path(f"parent/{NET}")).card.normalization
    assert (kept.image_size, isinstance(kept.normalize, Normalization)) == (None, True)


def test_set_has_the_last_word():
    changes = ["train.epochs=3", "train.optimizer.lr=0.5", "data.image_size=12", "train.class_weights=balanced"]
    experiment = finetune.own_data("parent", "pets", changes).experiment
    train = experiment.train
    assert (train.epochs, train.optimizer.lr, train.class_weights) == (3, 0.5, "balanced")
    assert finetune.words(experiment) == (
        "fine-tuning: images of 12x12, normalisation measured anew, 3 epochs, batches of 64, sgd with lr 0.5; --set "
        "changes any of it"
    )
    with pytest.raises(RecipeError, match=r"^--set: train\.epohcs: unknown key, did you mean 'epochs'\?$"):
        finetune.own_data("parent", "pets", ["train.epohcs=3"])


def test_a_rule_keeps_what_is_not_its_default():
    pipeline.start(recipe.load("tiny.toml", [
        "train.epochs=1", "train.optimizer.name=muon", "train.optimizer.momentum=0.9", "train.optimizer.rest_lr=0.5",
    ]), Path("muon"), Controls())  # fmt: skip
    rule = finetune.own_data("muon", "pets").experiment.train.optimizer
    assert (rule.name, rule.momentum, rule.lr, rule.rest_lr) == ("muon", 0.9, 0.01, 0.05)


def test_a_file_alone_begins_plainly():
    train = finetune.own_data(f"parent/{NET}", "pets").experiment.train
    assert (train.optimizer.lr, train.optimizer.nesterov, train.batch_size) == (0.01, True, 64)
    assert [each.op for each in train.augment] == ["crop", "flip"]


def test_the_library_makes_the_same_recipe():
    made = snugnet.finetune_recipe("parent", "pets", {"train.epochs": 3})
    assert made.experiment == finetune.own_data("parent", "pets", ["train.epochs=3"]).experiment
    assert snugnet.finetune_recipe(snugnet.open_run("parent"), "pets", {"train.epochs": 3}).text == made.text


# the command


def test_the_command_says_what_it_decided_and_learns():
    answer = snug(
        "train --from parent --data pets --set train.epochs=15 --set train.batch_size=6 --set train.mix.p=0.0"
    )
    assert answer.code == 0, answer.err
    count = len(load_file(f"parent/{NET}")) - 2
    assert (
        "Note: fine-tuning: images of 8x8, normalisation measured anew, 15 epochs, batches of 6, sgd with lr 0.02; "
        "--set changes any of it\n"
    ) in answer.err
    assert (
        f"Note: {count} tensors are taken from it, stem.conv.weight made for 3 channels of 1; fresh are "
        "head.classifier.weight, head.classifier.bias (its classes are 0, 1, 2, ..., here they are cat, dog)\n"
    ) in answer.err
    child = snugnet.open_run("runs/tiny-pets-001")
    assert child.summary["test"] >= 0.9
    again = recipe.load("runs/tiny-pets-001/recipe.toml").experiment
    assert (again.name, again.train.init_from, again.train.transfer) == ("tiny-pets", "parent", True)
    said = snug("predict runs/tiny-pets-001 pets/test --abstain 0.5 --json").json
    assert [each["class"] for each in said[:4]].count("cat") >= 3


def test_a_stopped_one_goes_on_bitwise_and_asks_nothing(here: Path):
    loaded = finetune.own_data("parent", "pets", ["train.epochs=3", "train.batch_size=8"])
    pipeline.start(loaded, Path("whole"), Controls())
    notes: list[str] = []
    with pytest.raises(Interrupted):
        pipeline.start(loaded, Path("run"), Controls(stopper=Stopper(after_s=0), warn=notes.append))
    assert len(notes) == 3  # whose weights, what is taken, constants
    shutil.rmtree(here / "parent")
    while not Path("run/summary.json").exists():
        with contextlib.suppress(Interrupted):
            pipeline.resume(Path("run"), Controls(stopper=Stopper(after_s=0), warn=notes.append))
    assert [note for note in notes[3:] if "the net learns nothing" not in note] == []
    assert outcome(Path("run")) == outcome(Path("whole"))


def test_a_recipe_beside_it_says_how():
    changes = "--data pets --set data.image_size=8 --set train.epochs=1"
    answer = snug(f"train tiny.toml --from parent {changes} --run one --json")
    assert answer.code == 0, answer.err
    train = snugnet.open_run("one").experiment.train
    assert (train.epochs, train.batch_size, train.init_from, train.transfer) == (1, 512, "parent", True)
    assert "fine-tuning" not in answer.err


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("", 2, "train: needs a RECIPE, see `snug recipes`; or --from RUN --data FOLDER"),
        ("--data pets", 2, "train: needs a RECIPE, see `snug recipes`; or --from RUN --data FOLDER"),
        ("--from parent", 2,
         "--from parent: needs --data, the images to go on with; or a RECIPE, which names its own"),
        ("--from nowhere --data pets", 2, "train.init_from: nowhere: must be a run, a shipped file or a recipe, but "),
        ("--from parent --data nowhere", 4, "nowhere: is neither a known data set nor a path"),
        ("snugnet/digits --from parent", 2, "must hold the tensors of the net, but stem.conv.weight is (4, 1, 3, 3) "),
        ("--from parent --data pets --set train.class_weights=[1,2,3]", 2,
         "train.class_weights: must have a number a class, 2 in the order of their names; got 3; correct it, or give "),
        ("snugnet/quickstart --data digits", 2,
         "the net for digits: recipe: "),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(here: Path, line: str, code: int, words: str):
    fails(snug(f"train {line} --run run"), code, words)
    assert not (here / "run").exists()


def test_a_design_of_another_width_takes_nothing():
    Path("child.toml").write_text(TINY.replace("[train]", '[train]\ninit_from = "parent"\ntransfer = true'))
    assert snug("design --budget params=10k --like child.toml -o wide.toml").code == 0
    assert not recipe.load("wide.toml").experiment.train.transfer


# class weights


def test_balanced_weights_are_those_of_the_training_images():
    """Bitwise the training with the numbers written out: 18 images, 12 cats and 6 dogs."""
    shipped: list[Any] = []
    for number, weights in enumerate(("balanced", "[0.75, 1.5]", "[1.5, 0.75]")):
        changes = ["data.name=pets", "data.image_size=8", f"train.class_weights={weights}"]
        pipeline.start(recipe.load("tiny.toml", changes), Path(f"w{number}"), Controls())
        shipped.append(Path(f"w{number}/{NET}").read_bytes())
    assert shipped[0] == shipped[1] != shipped[2]


def test_the_digest_of_a_recipe_without_any_of_it_is_what_it_was():
    """As results/ledger.jsonl has it since before there was any."""
    ledger = (Path(__file__).parents[1] / "results" / "ledger.jsonl").read_text()
    experiment, _ = pipeline.prepared(recipe.load("snugnet/quickstart").experiment)
    assert re.search(rf'"snugnet/quickstart", "recipe_sha256": "{experiment.sha256}"', ledger)
