"""Trainings with teachers, end to end: who they are, what is refused, what is written down, going on."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from command import fails, snug
from small_runs import TINY, outcome
from snugnet import artifact, lineage, memory, pipeline, recipe, runs
from snugnet.data import splits
from snugnet.device import Compute
from snugnet.errors import ArtifactError, Interrupted, OutOfMemory, RecipeError, SnugError
from snugnet.models import resnet
from snugnet.pipeline import Controls
from snugnet.recipe import Experiment
from snugnet.stopping import Stopper
from specs import card, spec

STUDENT = TINY + '[distill]\nteachers = ["big.toml"]\n'
NET = "model.safetensors"
ROOT = Path(__file__).parents[1]
MIXED = ["train.mix={name='mixup'}", "train.progressive=[{until=0.5,size=4}]", "train.optimizer.sam.rho=0.05"]

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory: big.toml and student.toml; runs/big of big.toml, with seeds 0 and 1."""
    root = tmp_path_factory.mktemp("school")
    (root / "big.toml").write_text(TINY.replace('["basic", 1, 4]', '["basic", 1, 8]'))
    (root / "student.toml").write_text(STUDENT)
    big = recipe.load(str(root / "big.toml"))
    runs.create_group(root / "runs" / "big", big, 2)
    for seed in (0, 1):
        pipeline.start(big.with_seed(seed), root / "runs" / "big" / f"seed-{seed}", Controls())
    return root


@pytest.fixture
def here(school: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    shutil.copytree(school, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def student(*overrides: str) -> recipe.Recipe:
    return recipe.load("student.toml", overrides)


def of(*overrides: str) -> Experiment:
    """The student's experiment, made for its data."""
    return pipeline.prepared(student(*overrides).experiment)[0]


def digest(*overrides: str) -> str:
    found = lineage.teachers(of(*overrides))
    return of(*overrides).model_copy(update={"teachers": tuple(each.parent for each in found)}).sha256


def train(path: str, *overrides: str, **controls: Any) -> dict[str, Any]:
    return pipeline.start(student(*overrides), Path(path), Controls(**controls))


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def odd(name: str, classes: list[str] | None = None, image_size: int = 8, channels: int = 1) -> str:
    """A shipped file that nobody trained."""
    names = classes or [str(digit) for digit in range(10)]
    design = card(spec(image_size=image_size, in_channels=channels, classes=len(names)), names)
    torch.manual_seed(0)
    artifact.write(Path(name), design, resnet.build(design.model))
    return f"distill.teachers=['{name}']"


# who teaches


def test_a_teacher_of_the_same_seed_else_the_one_that_is_named():
    for given, seed, path in [
        ("big.toml", 1, "runs/big/seed-1"),
        ("runs/big", 0, "runs/big/seed-0"),
        ("runs/big/seed-1", 0, "runs/big/seed-1"),
        (f"runs/big/seed-1/{NET}", 7, "runs/big/seed-1"),
    ]:
        (found,) = lineage.teachers(of(f"distill.teachers=['{given}']", f"seed={seed}"))
        assert found.parent.path == f"{path}/{NET}"


def test_the_digest_is_of_the_recipe_and_of_those_that_trained_the_teachers():
    """Neither of a teacher's path nor of its seed. A recipe without teachers has the digest that it had."""
    plain = recipe.parse(TINY, "tiny.toml").experiment
    assert plain.sha256 == "14e8b31b6b30659d62fec9fbee52dbf3edf64b85b363ecefb6256e299ccb89cf"
    one = digest()
    assert {digest("seed=1"), digest("distill.teachers=['runs/big']"), digest("distill.temperature=4.0")} == {one}
    by_bytes = [digest(f"distill.teachers=['runs/big/seed-{seed}/{NET}']") for seed in (0, 1)]
    two = digest("distill.teachers=['runs/big/seed-0','runs/big/seed-1']")
    others = [digest(f"distill.{each}") for each in ("temperature=2.0", "weight=0.5", "cache=true")]
    unknown = of().sha256
    assert len({plain.sha256, one, two, unknown, *by_bytes, *others}) == 9


def test_a_run_that_was_taught_is_of_its_recipe():
    train("runs/student")
    child = recipe.load("student.toml", ["train.init_from=student.toml"]).experiment
    found = lineage.find(pipeline.prepared(child)[0])
    assert found is not None
    assert found.parent.path == f"runs/student/{NET}"


# training


def test_with_no_weight_on_teachers_it_is_the_training_without_them():
    train("weightless", "distill.weight=0.0", "model.head.dropout=0.2", "train.accumulate=2")
    plain = recipe.parse(TINY, "tiny.toml", "tiny", ["model.head.dropout=0.2", "train.accumulate=2"])
    pipeline.start(plain, Path("plain"), Controls())
    train("taught", "model.head.dropout=0.2", "train.accumulate=2")
    files = [Path(name, NET).read_bytes() for name in ("weightless", "plain", "taught")]
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize(
    "changes",
    [
        [*MIXED, "distill.teachers=['runs/big/seed-0','runs/big/seed-1']", "distill.mean_of=probabilities"],
        ["distill.cache=true", "data.extra_copies={classes=['3'],each=20}"],
    ],
    ids=["each batch", "cache"],
)
def test_a_student_that_was_stopped_is_the_student_never_stopped(changes: list[str]):
    train("whole", *changes)
    with pytest.raises(Interrupted):
        train("run", *changes, stopper=Stopper(after_s=0))
    with pytest.raises(Interrupted):
        pipeline.resume(Path("run"), Controls(stopper=Stopper(after_s=0)))
    pipeline.resume(Path("run"), Controls())
    assert outcome(Path("run")) == outcome(Path("whole"))


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_going_on_without_the_same_teacher_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch, how: str):
    with pytest.raises(Interrupted):
        train("run", stopper=Stopper(after_s=0))
    file, remedy = Path(f"runs/big/seed-0/{NET}"), r"put that file back, or train again in another directory$"
    before = sha256(str(file))
    if how == "changed":
        shutil.copy(f"runs/big/seed-1/{NET}", file)
        words = (
            rf"^{file}: this run learns from it as of SHA-256 {before[:12]}\.\.\., but the file has "
            rf"{sha256(str(file))[:12]}\.\.\. now; {remedy}"
        )
    else:
        file.unlink()
        words = rf"^{file}: this run learns from it, but it is not there \(from {here}\); {remedy}"
    monkeypatch.setattr(splits, "open_splits", lambda *_: pytest.fail("data was opened"))
    with pytest.raises(ArtifactError, match=words):
        pipeline.resume(Path("run"), Controls())


# what is refused, before any image is read and before a directory is made


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        (
            ["seed=2"],
            RecipeError,
            "distill.teachers.0: big.toml: needs a finished run of that recipe as it stands, with seed 2, in runs, and "
            "there is none (runs/big/seed-1 has seed 1, runs/big/seed-0 has seed 0); make it with `snug train big.toml "
            "--seed 2`, or name another by --set distill.teachers.0=RUN",
        ),
        (
            ["distill.teachers=['runs/big/seed-1','nowhere']"],
            RecipeError,
            "distill.teachers.1: nowhere: must be a run, a shipped file or a recipe, but there is none of that name; "
            "`snug recipes` lists the built-in recipes",
        ),
        (
            ["distill.teachers=['runs/big']", "seed=2"],
            RecipeError,
            "distill.teachers.0: runs/big: must hold a run of this training's seed, seed-2, but holds seed-0, seed-1; "
            "train that seed, or name one run for all seeds",
        ),
        (
            ["distill.teachers=['runs/big/seed-0','runs/big']"],
            RecipeError,
            f"distill.teachers.1: runs/big/seed-0/{NET}: is the net of runs/big/seed-0/{NET}; name each teacher once",
        ),
        (
            ["LARGE"],
            RecipeError,
            "distill.teachers.0: odd: must read images of digits, 8x8 with 1 channel, but reads 16x16 with 3 channels; "
            "choose a teacher that was trained on such images",
        ),
        (
            ["LETTERS"],
            RecipeError,
            "distill.teachers.0: odd: must know the classes of digits, in any order, but lacks 7, 8, 9 and has a, b; "
            "choose a teacher of the same classes",
        ),
        (
            ["MORE"],
            RecipeError,
            "distill.teachers.0: odd: must know the classes of digits, in any order, but has 10, 11; "
            "choose a teacher of the same classes",
        ),
        (
            ["distill.cache=true", "train.mix={name='mixup'}"],
            RecipeError,
            "distill.cache: cannot go with train.mix, since what teachers say of whole images is no answer to mixed "
            "ones; set distill.cache = false, or leave train.mix out",
        ),
        (
            ["distill.teachers=['student.toml']", "distill.temperature=2.0"],
            RecipeError,
            "distill.teachers.0: student.toml: needs a finished run of that recipe as it stands, with seed 0, in runs",
        ),
    ],
)
def test_teachers_that_cannot_be_meant(
    here: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], kind: type[SnugError], words: str
):
    odds: dict[str, dict[str, Any]] = {
        "LARGE": {"image_size": 16, "channels": 3},
        "LETTERS": {"classes": list("0123456ab")},
        "MORE": {"classes": [str(number) for number in range(12)]},
    }
    monkeypatch.setattr(splits, "open_splits", lambda *_: pytest.fail("data was opened"))
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        train("run", *(odd("odd", **odds[each]) if each in odds else each for each in changes))
    assert not (here / "run").exists()


def test_teachers_written_by_hand():
    words = r"^mine.toml: teachers: is written by a run, never by hand; give distill.teachers$"
    with pytest.raises(RecipeError, match=words):
        recipe.parse("teachers = []\n" + TINY, "mine.toml")


def test_a_misspelt_key():
    words = r"^--set: distill\.temprature: unknown key, did you mean 'temperature'\?$"
    with pytest.raises(RecipeError, match=words):
        student("distill.temprature=3")


def test_permuted_classes_are_put_in_order():
    """A teacher that names the same logits in another order teaches the same."""
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    straight = odd("straight")
    trained = artifact.read(Path("straight"))
    head = [name for name, value in trained.model.named_parameters() if value.shape[0] == 10]
    weights = dict(trained.model.named_parameters())
    assert head
    for name in head:
        weights[name].data = weights[name].data[order]
    names = tuple(str(digit) for digit in order)
    artifact.write(Path("mixed"), trained.card.model_copy(update={"classes": names}), trained.model)
    train("a", straight)
    train("b", "distill.teachers=['mixed']")
    straight_one, other = (load_file(Path(name, NET)) for name in ("a", "b"))
    for name, value in straight_one.items():  # sums over other columns may be rounded in another way
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-5)


def test_memory_that_runs_out_is_told_with_the_teachers():
    changes = ["distill.teachers=['runs/big/seed-0','runs/big/seed-1']"]
    found = lineage.teachers(of(*changes))
    experiment = of(*changes).model_copy(update={"teachers": tuple(each.parent for each in found)})
    alone, taught = (
        memory.predict(experiment.model, experiment.train, "fp32", teachers)
        for teachers in ([], [each.shipped.card for each in found])
    )
    assert taught.fixed - alone.fixed == 4 * sum(each.shipped.params for each in found)
    assert taught.per_image >= alone.per_image
    wide = found[0].shipped.card.model_copy(update={"model": spec(["basic", 1, 512], image_size=8, in_channels=1)})
    assert memory.predict(experiment.model, experiment.train, "fp32", [wide]).per_image > 2 * alone.per_image
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "too_large", lambda needed, *_: seen.append(needed.fixed) or "too large")
        with pytest.raises(OutOfMemory), pipeline.memory_explained(experiment, Compute(torch.device("cpu"), "fp32")):
            raise MemoryError
    assert seen == [taught.fixed]


# the commands


def test_the_commands_of_the_documentation_train_a_smaller_net_by_a_larger_one(here: Path):
    """With the labels left out: all that the student knows of digits, its teacher told it."""
    text = (ROOT / "docs/recipes.md").read_text().split("## [distill]")[1]
    commands = re.search(r"```\n(.*?)```", text, re.DOTALL)
    assert commands
    bigger, smaller = (shlex.split(line.partition("  #")[0])[1:] for line in commands[1].splitlines())
    few = ["--set", "train.epochs=4", "--json"]
    first = snug(*bigger, *few)
    second = snug(*smaller, *few, "--set", "distill.weight=1.0")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    teacher, taught = (runs.read(here / answer.json["run"]).summary for answer in (first, second))
    file = f"{first.json['run']}/{NET}"
    assert f"Note: this training learns from {file} ({teacher['params']:,} parameters)\n" in second.err
    assert taught["params"] < teacher["params"] / 2
    assert taught["test"] > 0.3  # 0.1 is chance; 0.47 seen
    assert taught["teachers"] == [
        {"path": file, "sha256": sha256(file), "recipe_sha256": teacher["recipe_sha256"]},
    ]
    assert teacher["teachers"] == []
    assert json.loads((here / second.json["run"] / "config.json").read_text())["teachers"] == taught["teachers"]
    page = (here / second.json["run"] / "report.html").read_text()
    assert f"<dt>learned from</dt><dd>{file}, SHA-256 {sha256(file)}</dd>" in page


def test_all_seeds_teachers_are_looked_for_before_the_first_begins(here: Path):
    words = "distill.teachers.0: big.toml: needs a finished run of that recipe as it stands, with seed 2"
    fails(snug("train student.toml --seeds 3 --run students"), 2, words)
    assert not (here / "students").exists()


def test_a_teacher_that_may_know_val_is_told():
    notes: list[str] = []
    train("run", "data.val_fraction=0.2", warn=notes.append)
    place = f"runs/big/seed-0/{NET}"
    params = runs.read(Path("runs/big/seed-0")).summary["params"]
    assert notes == [
        f"this training learns from {place} ({params:,} parameters)",
        f"{place}: may have learned images that are val here, and val accuracy may be too high; "
        "give both recipes the same data.train_on and data.val_fraction",
    ]


def test_lr_find_asks_the_teachers_as_well():
    answer = snug("lr-find student.toml --steps 3 --json")
    assert f"Note: this training learns from runs/big/seed-0/{NET} (" in answer.err
    plain = snug("lr-find student.toml --steps 3 --json --set distill.weight=0.0")
    assert answer.json["curve"][0] != plain.json["curve"][0]


def test_a_recipe_is_priced_and_shown_without_its_teachers():
    shutil.rmtree("runs")
    assert snug("show student.toml").code == 0
    taught, alone = snug("plan student.toml --batch 64"), snug("plan big.toml --batch 64")
    assert taught.code == alone.code == 0
    note = "the training memory is without the teachers of [distill], which a plan does not look for"
    assert (note in taught.err, note in alone.err) == (True, False)
