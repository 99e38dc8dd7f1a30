"""A finished run to a smaller one: what its target means, what it begins with, and that it is a run like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from small_runs import outcome, tiny
from snugnet import artifact, budget, lineage, pipeline, recipe, runs
from snugnet.compress.prune import PruneConfig
from snugnet.errors import OverBudget, RecipeError, UsageError
from snugnet.pipeline import Controls
from snugnet.ship import shrink
from snugnet.ship.shrink import Child, Pruning, Wish

CPU = torch.device("cpu")
NET = "model.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with runs/one of the smallest net, trained for two epochs."""
    root = tmp_path_factory.mktemp("trained")
    pipeline.start(tiny("train.optimizer.lr=0.3", "budget.params=5k"), root / "runs" / "one", Controls())
    return root


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(target: str = "params=60%", epochs: int | None = None, into: str = "runs/small", **config: object) -> Child:
    wish = Wish(Pruning(target, PruneConfig.parse(config)), epochs)
    return shrink.child(Path("runs/one"), wish, Path(into), CPU)


def test_a_target_in_shares_and_units(trained: Path):
    cost = budget.price(artifact.read(trained / "runs" / "one" / NET).card)
    found = shrink.target_of("params=50%, bytes=2kB,macs=1k", cost)
    assert found.limits() == {"params": cost.params // 2, "bytes": 2_000, "macs": 1_000}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "--prune: must be NAME=LIMIT, for example params=80k or macs=50%"),
        ("80k", "--prune 80k: must be NAME=LIMIT with NAME one of params, bytes, macs"),
        (
            "param=80k",
            "--prune param=80k: must be NAME=LIMIT with NAME one of params, bytes, macs, did you mean 'params'?",
        ),
        (
            "params=many",
            "--prune params=many: a count must be a number, or a number with one of k, K, M, G, T; got 'many'",
        ),
        ("macs=x%", "--prune macs=x%: a share must be a number, or a number with one of %; got 'x%'"),
        ("params=1k,params=2k", "--prune params=2k: params has a limit already; give one for each measure"),
        ("params=0", "--prune: params: must be greater than 0; got 0"),
    ],
)
def test_targets_that_cannot_be_meant(trained: Path, text: str, words: str):
    cost = budget.price(artifact.read(trained / "runs" / "one" / NET).card)
    with pytest.raises(RecipeError) as caught:
        shrink.target_of(text, cost)
    assert str(caught.value) == words


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("measure", ["params", "bytes", "macs"])
def test_the_target_is_a_limit_to_the_unit(measure: str):
    before = budget.measure(artifact.read(Path("runs/one") / NET).card, measure)
    with pytest.raises(
        UsageError, match=rf"^--prune {measure}={before}: runs/one is within it already \(.*\); give less$"
    ):
        small(f"{measure}={before}")
    made = small(f"{measure}={before - 1}")
    assert budget.measure(made.pruned.card, measure) < before
    assert (made.path / runs.START).stat().st_size == budget.measure(made.pruned.card, "bytes")


@pytest.mark.usefixtures("here")
def test_out_of_reach():
    words = (
        r"^runs/one: must be pruned to 10 parameters, but is (\d+) parameters with all gone that can go; give --prune "
    )
    with pytest.raises(OverBudget, match=words) as caught:
        small("params=10")
    least = str(caught.value).rpartition("--prune ")[2].removesuffix(" or more")
    assert budget.show("params", budget.measure(small(least).pruned.card, "params")) in str(caught.value)


@pytest.mark.usefixtures("here")
def test_the_recipe_is_the_parents_but_gentle():
    parent, made = runs.read(Path("runs/one")).experiment, small()
    experiment, train = made.recipe.experiment, made.recipe.experiment.train
    assert (experiment.name, experiment.seed, experiment.data) == ("tiny-pruned", parent.seed, parent.data)
    assert (train.epochs, train.init_from) == (1, "runs/small/start.safetensors")  # a third of 2
    assert train.optimizer.lr == pytest.approx(0.2 * 0.3)
    assert (train.schedule.name, train.schedule.per, train.augment) == ("cosine", "batch", parent.train.augment)
    params = budget.measure(artifact.read(Path("runs/one") / NET).card, "params")
    assert experiment.budget.params == int(0.6 * params)
    assert experiment.model == made.pruned.card.model
    again = recipe.parse(made.recipe.text, "recipe.toml").experiment  # an ordinary recipe
    assert (again.model, again.train) == (experiment.model, train)


@pytest.mark.usefixtures("here")
def test_without_fine_tuning_what_is_left_ships():
    made = small(epochs=0)
    summary = pipeline.start(made.recipe, made.path, Controls())
    assert (made.path / NET).read_bytes() == (made.path / runs.START).read_bytes()
    assert (summary["epochs"], summary["epoch"], summary["weights"]) == (0, 0, "last")
    assert summary["params"] == budget.measure(made.pruned.card, "params")
    assert pipeline.resume(made.path, Controls()) == summary


@pytest.mark.usefixtures("here")
def test_seeds_of_one_pruning_are_one_experiment():
    first = small().recipe.experiment
    other = small("params=50%", into="runs/other").recipe.experiment
    by = small(into="runs/by", by="magnitude").recipe.experiment
    again = small(into="runs/again").recipe.experiment
    assert first.sha256 == again.sha256
    assert len({first.sha256, other.sha256, by.sha256}) == 3


class Killed(BaseException):
    pass


def kill(_: object) -> None:
    raise Killed


@pytest.mark.usefixtures("here")
def test_a_run_that_was_moved_goes_on():
    for name in ("a", "b"):
        made = small(into=f"runs/{name}")
        if name == "a":
            pipeline.start(made.recipe, made.path, Controls())
        else:
            with pytest.raises(Killed):
                pipeline.start(made.recipe, made.path, Controls(observe=kill))
            shutil.move("runs/b", "elsewhere")
    pipeline.resume(Path("elsewhere"), Controls())
    whole, moved = outcome(Path("runs/a")), outcome(Path("elsewhere"))
    assert whole["artifact"] == moved["artifact"]
    assert whole["metrics"] == moved["metrics"]


@pytest.mark.usefixtures("here")
def test_a_file_that_is_another_is_no_start():
    made = small(epochs=0)
    shutil.copy(Path("runs/one") / NET, made.path / runs.START)
    with pytest.raises(Exception, match=r"begins with its weights as of SHA-256 .*\.\.\., but the file has "):
        lineage.find(made.recipe.experiment)


@pytest.mark.usefixtures("here")
def test_any_run_may_be_shipped_anew_without_training():
    anew = tiny("train.epochs=0", "train.init_from=runs/one", "train.keep=best", "train.ema.decay=0.5")
    summary = pipeline.start(anew, Path("runs/anew"), Controls())
    assert (Path("runs/anew") / NET).read_bytes() == (Path("runs/one") / NET).read_bytes()
    before = runs.read(Path("runs/one")).summary
    assert (summary["val"], summary["test"]) == (before["val"], before["test"])
    assert load_file("runs/anew/predictions/test.safetensors").keys() == {"logits", "labels"}


def test_no_epochs_need_weights():
    with pytest.raises(RecipeError, match=r"epochs must be at least 1, or 0 with init_from, whose weights then ship"):
        tiny("train.epochs=0")
