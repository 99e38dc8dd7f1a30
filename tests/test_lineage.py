"""A training that begins with the weights of another run: which file that is, that it is taken exactly, refusals."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from command import fails, snug
from small_runs import TINY, outcome
from snugnet import artifact, lineage, pipeline, recipe, runs
from snugnet.data import splits
from snugnet.errors import ArtifactError, Interrupted, RecipeError, SnugError
from snugnet.pipeline import Controls
from snugnet.recipe import Experiment
from snugnet.stopping import Stopper
from snugnet.train import loop, range_test

CHILD = TINY.replace("[train]", '[train]\ninit_from = "parent.toml"')
NET = "model.safetensors"

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory: parent.toml and child.toml; runs/one of parent with seed 0, runs/both with seeds 0 and 1.
    The seed 0 in both is the newer."""
    root = tmp_path_factory.mktemp("family")
    (root / "parent.toml").write_text(TINY)
    (root / "child.toml").write_text(CHILD)
    parent = recipe.load(str(root / "parent.toml"))
    pipeline.start(parent, root / "runs" / "one", Controls())
    runs.create_group(root / "runs" / "both", parent, 2)
    for seed in (0, 1):
        pipeline.start(parent.with_seed(seed), root / "runs" / "both" / f"seed-{seed}", Controls())
    retold(root / "runs" / "one", "summary.json", date="2030-01-01T00:00:00Z")
    retold(root / "runs" / "both" / "seed-0", "summary.json", date="2030-01-02T00:00:00Z")
    return root


@pytest.fixture
def here(family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    shutil.copytree(family, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def child(*overrides: str) -> recipe.Recipe:
    return recipe.load("child.toml", overrides)


def of(init_from: str, seed: int = 0) -> Experiment:
    """The child's experiment, made for its data."""
    return pipeline.prepared(child(f"train.init_from={init_from}", f"seed={seed}").experiment)[0]


def found(init_from: str, seed: int = 0) -> lineage.Found:
    parent = lineage.find(of(init_from, seed))
    assert parent is not None
    return parent


def retold(path: str | Path, name: str, **changes: Any) -> None:
    """A file of a run with other values in it."""
    file = Path(path) / name
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def train(path: str, *overrides: str, observe: Any = lambda _: None) -> dict[str, Any]:
    return pipeline.start(child(*overrides), Path(path), Controls(observe=observe))


class Killed(BaseException):
    pass


def kill(_: object) -> None:
    raise Killed


def killed(path: str, *overrides: str) -> None:
    """A run that died before it wrote a checkpoint."""
    with pytest.raises(Killed):
        train(path, *overrides, observe=kill)
    assert not Path(path, "checkpoint").exists()


# which weights


@pytest.mark.parametrize(
    ("init_from", "seed", "path"),
    [
        ("runs/one", 0, f"runs/one/{NET}"),
        ("runs/one", 5, f"runs/one/{NET}"),
        (f"runs/one/{NET}", 5, f"runs/one/{NET}"),
        ("runs/both", 0, f"runs/both/seed-0/{NET}"),
        ("runs/both", 1, f"runs/both/seed-1/{NET}"),
        ("runs/both/seed-1", 0, f"runs/both/seed-1/{NET}"),
        ("parent.toml", 1, f"runs/both/seed-1/{NET}"),
    ],
)
def test_what_a_name_means(init_from: str, seed: int, path: str):
    assert found(init_from, seed).parent.path == path


@pytest.mark.parametrize(("newer", "older"), [("one", "both/seed-0"), ("both/seed-0", "one")])
def test_of_the_runs_of_a_recipe_the_newest(newer: str, older: str):
    retold(f"runs/{newer}", "summary.json", date="2031-01-02T00:00:00Z")
    retold(f"runs/{older}", "summary.json", date="2031-01-01T23:59:59Z")
    assert found("parent.toml").parent.path == f"runs/{newer}/{NET}"


def test_a_built_in_recipe_is_named_as_for_training():
    quick = ["train.epochs=1", "train.log_every=7"]
    pipeline.start(recipe.load("snugnet/digits", quick), Path("runs/quick"), Controls())
    again = recipe.load("snugnet/digits", ["train.init_from=snugnet/digits"]).experiment
    with pytest.raises(RecipeError, match=r"there is none \(runs/quick was trained with other values\); make it with"):
        lineage.find(again)
    config = json.loads(Path("runs/quick/config.json").read_text())
    retold("runs/quick", "config.json", train=config["train"] | {"epochs": 15})  # as the recipe stands
    parent = lineage.find(again)
    assert parent is not None
    assert parent.parent.path == f"runs/quick/{NET}"


def test_a_run_that_itself_began_with_another_is_of_its_recipe():
    train("runs/child")
    Path("grandchild.toml").write_text(TINY.replace("[train]", '[train]\ninit_from = "child.toml"'))
    parent = lineage.find(recipe.load("grandchild.toml").experiment.model_copy(update={"model": of("runs/one").model}))
    assert parent is not None
    assert parent.parent.path == f"runs/child/{NET}"


def test_runs_that_cannot_be_read_are_none_of_the_recipe(here: Path):
    (here / "runs" / "both" / "seed-0" / "summary.json").write_text("{")
    retold("runs/both/seed-1", "config.json", train={"epochs": "many"})
    assert found("parent.toml").parent.path == f"runs/one/{NET}"


# exactly these weights


def test_the_net_begins_with_them_bitwise(monkeypatch: pytest.MonkeyPatch):
    begun: list[dict[str, torch.Tensor]] = []

    def watched(module: Any, name: str) -> None:
        train_it = getattr(module, name)

        def trained(model: Any, *values: Any) -> Any:
            begun.append({name: value.clone() for name, value in model.state_dict().items()})
            return train_it(model, *values)

        monkeypatch.setattr(module, name, trained)

    watched(loop, "fit")
    watched(range_test, "sweep")
    train("run", "train.init_from=runs/both/seed-1", "model.init=kaiming_fan_out", "train.ema.decay=0.5")
    list(pipeline.sweep_lr(child("seed=1"), range_test.RangeConfig(steps=2), Controls()))
    expected = load_file(f"runs/both/seed-1/{NET}")
    for state in begun:
        seen = {name: value for name, value in state.items() if name in expected}
        assert seen.keys() == expected.keys()
        assert all(torch.equal(seen[name], expected[name]) for name in expected)
        assert all(value == 0 for name, value in state.items() if name not in expected)  # counters of batch norm
    assert len(begun) == 2


def test_frozen_whitening_filters_are_the_parent_s():
    """Made from the constants of other images, they would not be."""
    whitened = ["model.stem.whiten=true", "model.stem.channels=4", "model.stem.kernel=2"]
    pipeline.start(recipe.load("parent.toml", whitened), Path("white"), Controls())
    weights = load_file(f"white/{NET}")
    save_file(
        weights | {"stem.conv.weight": weights["stem.conv.weight"] * 2},
        f"white/{NET}",
        {"snugnet": artifact.read(Path(f"white/{NET}")).card.text()},
    )
    train("run", *whitened, "train.init_from=white")
    assert torch.equal(load_file(f"run/{NET}")["stem.conv.weight"], 2 * weights["stem.conv.weight"])


def test_a_child_and_its_repetition_are_bitwise_equal_and_no_fresh_run():
    for name in ("a", "b"):
        train(name)
    fresh = pipeline.start(recipe.load("parent.toml"), Path("fresh"), Controls())
    assert outcome(Path("a")) == outcome(Path("b"))
    assert json.loads(Path("a/summary.json").read_text())["val"] != fresh["val"]


# what is written down


def test_the_run_says_what_it_began_with(here: Path):
    summary = train("run")
    expected = found("parent.toml").parent.plain()
    assert expected["sha256"] == sha256(f"runs/both/seed-0/{NET}")
    assert expected["recipe_sha256"] == runs.read(Path("runs/one")).summary["recipe_sha256"]
    config = json.loads(Path("run/config.json").read_text())
    assert summary["parent"] == config["parent"] == expected
    assert config["train"]["init_from"] == "parent.toml"
    assert runs.read(Path("runs/one")).summary["parent"] is None
    assert str(here) not in Path("run/config.json").read_text()


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def digest(init_from: str, seed: int = 0) -> str:
    experiment = of(init_from, seed)
    return experiment.model_copy(update={"parent": found(init_from, seed).parent}).sha256


def test_the_digest_is_of_the_parent_s_experiment():
    """Neither of its path nor of its seed: seeds of one experiment share it."""
    one = digest("runs/one")
    assert {digest("parent.toml"), digest("parent.toml", 1), digest("runs/both", 1), digest("runs/one", 7)} == {one}
    pipeline.start(recipe.load("parent.toml", ["train.epochs=1"]), Path("other"), Controls())
    train("child")
    train("child of child", "train.init_from=child")
    bytes_alone = {digest(f"runs/one/{NET}"), digest(f"runs/both/seed-1/{NET}")}
    afresh = recipe.load("parent.toml").experiment.sha256
    assert len({one, digest("other"), digest("child"), digest("child of child"), *bytes_alone, afresh}) == 7


def test_doubts_are_told_and_the_training_goes_on():
    notes: list[str] = []
    changed = child("data.normalize.mean=[0.5]", "data.normalize.std=[0.25]", "data.val_fraction=0.2")
    pipeline.start(changed, Path("run"), Controls(warn=notes.append))
    place = f"runs/both/seed-0/{NET}"
    assert notes[0] == f"this training begins with the weights of {place}"
    assert re.fullmatch(
        rf"{place}: learned images normalised by mean 0\.30\d{{4}} and std 0\.37\d{{4}}, here it is mean 0\.500000 and "
        r"std 0\.250000; set data\.normalize where they should be the same",
        notes[1],
    )
    assert notes[2:] == [
        f"{place}: may have learned images that are val here, and val accuracy may be too high; "
        "give both recipes the same data.train_on and data.val_fraction"
    ]
    notes.clear()
    pipeline.start(child("data.val_fraction=0.1"), Path("same"), Controls(warn=notes.append))
    assert len(notes) == 1


def test_other_classes_are_told():
    seen = found(f"runs/one/{NET}")
    data = splits.open_splits(of("runs/one").data)
    data = replace(data, info=replace(data.info, classes=("a", "b", "c", *data.info.classes[3:])))
    words = f"runs/one/{NET}: its classes are 0, 1, 2, ..., here they are a, b, c, ..."
    assert list(seen.doubts(of("runs/one"), data)) == [words]


# what is refused, before any image is read and before a directory is made

NONE = "train.init_from: parent.toml: needs a finished run of that recipe as it stands, with seed "
MAKE = "or name another by --set train.init_from=RUN"


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        (
            ["seed=2"],
            RecipeError,
            f"{NONE}2, in runs, and there is none (runs/one has seed 0, runs/both/seed-1 has seed 1, runs/both/seed-0 "
            f"has seed 0); make it with `snug train parent.toml --seed 2`, {MAKE}",
        ),
        (
            ["train.init_from=runs/both", "seed=2"],
            RecipeError,
            "train.init_from: runs/both: must hold a run of this training's seed, seed-2, but holds seed-0, seed-1; "
            "train that seed, or name one run for all seeds",
        ),
        (
            ["train.init_from=patil25/resnetsmal"],
            RecipeError,
            "train.init_from: patil25/resnetsmal: must be a run, a shipped file or a recipe, but there is none of that "
            "name, did you mean 'patil25/resnetsmall'?",
        ),
        (
            ["train.init_from=nowhere"],
            RecipeError,
            "train.init_from: nowhere: must be a run, a shipped file or a recipe, but there is none of that name; "
            "`snug recipes` lists the built-in recipes",
        ),
        (
            ["train.init_from=patil25/resnetsmall"],
            RecipeError,
            "train.init_from: patil25/resnetsmall: needs a finished run of that recipe as it stands, with seed 0, in "
            f"runs, and there is none; make it with `snug train patil25/resnetsmall`, {MAKE}",
        ),
        (
            ["train.init_from=none.toml"],
            RecipeError,
            "none.toml: neither a built-in recipe nor a file; `snug recipes` lists the built-in ones",
        ),
        (
            ["train.init_from=runs"],
            ArtifactError,
            "runs: no run here (there is no config.json); `snug train RECIPE --run runs` makes one",
        ),
        (
            ["train.init_from=runs/one", "model.stages.0.channels=8"],
            RecipeError,
            f"train.init_from: runs/one/{NET}: must hold the tensors of the net, but stem.conv.weight is (4, 1, 3, 3) "
            "in the file and (8, 1, 3, 3) here; model.stages.0.channels is 4 in the file and 8 here; "
            "give both the same [model], or leave init_from out",
        ),
        (
            ["train.init_from=runs/one", "conv_bias"],
            RecipeError,
            f"train.init_from: runs/one/{NET}: must hold the tensors of the net, but stem.conv.bias is not there in "
            "the file and (4,) here; model.conv_bias is false in the file and true here; "
            "give both the same [model], or leave init_from out",
        ),
        (
            ["train.init_from=runs/one", 'model.shortcut.kind="none"', "model.stem.se.reduction=2"],
            RecipeError,
            f"train.init_from: runs/one/{NET}: must hold the tensors of the net, but stem.se.",
        ),
    ],
)
def test_a_parent_that_cannot_be_meant(
    here: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], kind: type[SnugError], words: str
):
    monkeypatch.setattr(splits, "open_splits", lambda *_: pytest.fail("data was opened"))
    overrides = ["model.conv_bias=true" if each == "conv_bias" else each for each in changes]
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        train("run", *overrides)
    assert not (here / "run").exists()


def test_a_tensor_of_the_file_alone_is_told():
    pipeline.start(recipe.load("parent.toml", ["model.conv_bias=true"]), Path("biased"), Controls())
    words = r"but stem\.conv\.bias is \(4,\) in the file and not there here; model\.conv_bias is true in the file and"
    with pytest.raises(RecipeError, match=words):
        train("run", "train.init_from=biased")


def test_an_unfinished_parent(here: Path):
    (here / "runs" / "one" / "summary.json").unlink()
    with pytest.raises(ArtifactError, match=r"^runs/one: is not finished; finish it with `snug resume runs/one`$"):
        found("runs/one")
    shutil.rmtree("runs/both")
    with pytest.raises(RecipeError, match=r"there is none \(runs/one is not finished\); make it with"):
        found("parent.toml")


def test_a_damaged_parent():
    file = Path(f"runs/one/{NET}")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=rf"^{file}: not a readable safetensors file"):
        found("runs/one")


def test_a_parent_written_by_hand():
    words = r"^mine.toml: parent: is written by a run, never by hand; give train.init_from$"
    with pytest.raises(RecipeError, match=words):
        recipe.parse(TINY + "[parent]\npath = 'x'\n", "mine.toml")


# going on


def test_a_child_stopped_at_every_step_is_the_child_never_stopped():
    train("whole")
    with pytest.raises(Interrupted):
        pipeline.start(child(), Path("run"), Controls(stopper=Stopper(after_s=0)))
    shutil.rmtree("runs")  # not asked for again
    while not Path("run/summary.json").exists():
        with contextlib.suppress(Interrupted):
            pipeline.resume(Path("run"), Controls(stopper=Stopper(after_s=0)))
    assert outcome(Path("run")) == outcome(Path("whole"))


def test_before_the_first_checkpoint_it_begins_with_the_same_file():
    train("whole")
    killed("run")
    shutil.copytree("runs/both/seed-1", "runs/newest")
    retold("runs/newest", "config.json", seed=0)
    retold("runs/newest", "summary.json", date="2040-01-01T00:00:00Z")
    assert found("parent.toml").parent.path == f"runs/newest/{NET}"
    pipeline.resume(Path("run"), Controls())
    assert outcome(Path("run")) == outcome(Path("whole"))


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_before_the_first_checkpoint_another_file_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch, how: str):
    killed("run", "train.init_from=runs/one")
    file, remedy = Path(f"runs/one/{NET}"), r"put that file back, or train again in another directory$"
    before = sha256(str(file))
    if how == "changed":
        shutil.copy(f"runs/both/seed-1/{NET}", file)
        words = (
            rf"^{file}: this run begins with its weights as of SHA-256 {before[:12]}\.\.\., but the file has "
            rf"{sha256(str(file))[:12]}\.\.\. now; {remedy}"
        )
    else:
        file.unlink()
        words = rf"^{file}: this run begins with its weights, but it is not there \(from {here}\); {remedy}"
    monkeypatch.setattr(splits, "open_splits", lambda *_: pytest.fail("data was opened"))
    with pytest.raises(ArtifactError, match=words):
        pipeline.resume(Path("run"), Controls())


def test_a_file_that_changes_between_the_check_and_the_start_is_refused(monkeypatch: pytest.MonkeyPatch):
    opened = splits.open_splits

    def open_splits(*values: Any) -> Any:
        shutil.copy(f"runs/both/seed-1/{NET}", f"runs/one/{NET}")
        return opened(*values)

    monkeypatch.setattr(splits, "open_splits", open_splits)
    with pytest.raises(ArtifactError, match="begins with its weights as of SHA-256"):
        train("run", "train.init_from=runs/one")


def test_a_finished_run_needs_no_parent():
    summary = train("run")
    shutil.rmtree("runs")
    assert pipeline.resume(Path("run"), Controls()) == json.loads(json.dumps(summary))


# the commands


def test_seeds_begin_each_with_its_own_and_go_on(here: Path):
    stopped = snug("train child.toml --seeds 2 --run children --stop-after 0")
    assert "Note: this training begins with the weights of runs/both/seed-0/model.safetensors\n" in stopped.err
    shutil.rmtree("runs/one")
    shutil.rmtree("runs/both/seed-0")  # not asked for again
    answer = snug("resume children --json")
    assert answer.code == 0, answer.err
    assert "Note: this training begins with the weights of runs/both/seed-1/model.safetensors\n" in answer.err
    summaries = [runs.read(here / "children" / f"seed-{seed}").summary for seed in (0, 1)]
    assert [each["parent"]["path"] for each in summaries] == [f"runs/both/seed-{seed}/{NET}" for seed in (0, 1)]
    assert summaries[0]["recipe_sha256"] == summaries[1]["recipe_sha256"]
    page = (here / "children" / "seed-1" / "report.html").read_text()
    assert f"<dd>runs/both/seed-1/{NET}, SHA-256 {summaries[1]['parent']['sha256']}</dd>" in page


def test_all_seeds_are_looked_for_before_the_first_begins(here: Path):
    fails(snug("train child.toml --seeds 3 --run children"), 2, f"{NONE}2, in runs, and there is none")
    assert not (here / "children").exists()


def test_lr_find_needs_the_parent_as_well():
    fails(snug("lr-find child.toml --set seed=2 --steps 3"), 2, f"{NONE}2, in runs")
    answer = snug("lr-find child.toml --steps 3")
    assert "Note: this training begins with the weights of runs/both/seed-0/model.safetensors\n" in answer.err


@pytest.mark.parametrize("command", ["plan", "show"])
def test_a_recipe_is_priced_and_shown_without_its_parent(command: str):
    shutil.rmtree("runs")
    assert snug(command, "child.toml").code == 0
    assert snug(command, "patil25/resnetsmall-phase2").code == 0


def test_a_design_of_another_width_begins_afresh():
    answer = snug("design --budget params=10k --like child.toml -o wide.toml")
    assert "Note: left train.init_from out; a net of another width cannot begin with those weights\n" in answer.err
    assert recipe.load("wide.toml").experiment.train.init_from is None
