"""An augmentation and a loss of a user's own, in a whole training and in every command that meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import own_code
from command import fails, snug
from small_runs import STEPS, TINY, outcome, tiny
from snugnet import foreign, pipeline, recipe
from snugnet.data import splits
from snugnet.errors import Interrupted, OutOfMemory, RecipeError
from snugnet.foreign import code_allowed
from snugnet.pipeline import Controls
from snugnet.stopping import Stopper

OWN = [
    'train.augment=[{op="crop", padding=1}, {op="own_code:Noise", options={most=40}, p=0.5}]',
    'train.loss="own_code:Focal"',
    "train.loss_options={gamma=1.5}",
    'train.mix={name="mixup", p=0.5}',
]
NO_PERMISSION = r"own_code:\w+: runs foreign code, which needs permission; read it, then add --allow-code$"


def test_a_run_stopped_at_every_step_is_bitwise_the_whole_one(tmp_path: Path):
    run = tmp_path / "run"
    with code_allowed():
        pipeline.start(tiny(*OWN), tmp_path / "whole", Controls())
        line = rf"go on with: snug resume {re.escape(str(run))} --allow-code$"
        with pytest.raises(Interrupted, match=line):
            pipeline.start(tiny(*OWN), run, Controls(stopper=Stopper(after_s=0)))
        for _ in range(STEPS - 1):
            with pytest.raises(Interrupted, match=line):
                pipeline.resume(run, Controls(stopper=Stopper(after_s=0)))
        pipeline.resume(run, Controls())
    assert outcome(run) == outcome(tmp_path / "whole")


@pytest.mark.parametrize("change", ["train.augment=[]", "train.loss_options={gamma=0.5}"])
def test_both_take_part_in_the_training(tmp_path: Path, change: str):
    with code_allowed():
        for name, changes in (("own", OWN), ("other", [*OWN, change])):
            pipeline.start(tiny(*changes, "train.epochs=1"), tmp_path / name, Controls())
    own, other = outcome(tmp_path / "own"), outcome(tmp_path / "other")
    assert own["artifact"] != other["artifact"]
    assert own["summary"]["recipe_sha256"] != other["summary"]["recipe_sha256"]


def test_each_run_makes_them_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Once to be tried, once to train: what one training left in an object does not reach the next."""
    made: list[int] = []

    class Counted(own_code.Noise):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(id(self))

    monkeypatch.setattr(own_code, "Noise", Counted)
    experiment = tiny(*OWN, "train.epochs=1")
    with code_allowed():
        for name in ("first", "second"):
            pipeline.start(experiment, tmp_path / name, Controls())
    assert len(made) == 4


@pytest.mark.parametrize("which", [OWN[0], OWN[1]], ids=["augmentation", "loss"])
def test_without_permission_no_data_is_read_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
):
    monkeypatch.setattr(splits, "open_splits", lambda *_: pytest.fail("data was read"))
    with pytest.raises(RecipeError, match=NO_PERMISSION):
        pipeline.start(tiny(which), tmp_path / "run", Controls())
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_run_is_found_before_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(splits, "open_splits", lambda *_: pytest.fail("data was read"))
    with code_allowed(), pytest.raises(RecipeError, match=r"^loss own_code:Right: must be differentiable"):
        pipeline.start(tiny("train.loss=own_code:Right"), tmp_path / "run", Controls())
    assert list(tmp_path.iterdir()) == []


def test_to_go_on_needs_permission_too(tmp_path: Path):
    with code_allowed(), pytest.raises(Interrupted):
        pipeline.start(tiny(*OWN), tmp_path / "run", Controls(stopper=Stopper(after_s=0)))
    with pytest.raises(RecipeError, match=NO_PERMISSION):
        pipeline.resume(tmp_path / "run", Controls())


def test_the_record_names_the_code_and_a_change_of_it_is_told(tmp_path: Path):
    with code_allowed(), pytest.raises(Interrupted):
        pipeline.start(tiny(*OWN), tmp_path / "run", Controls(stopper=Stopper(after_s=0)))
    path = tmp_path / "run" / "environment.json"
    environment = json.loads(path.read_text())
    here = foreign.fingerprint("own_code:Noise")
    assert environment["foreign_code"] == {"own_code:Focal": here, "own_code:Noise": here}
    assert len(here) == 12
    path.write_text(json.dumps(environment | {"foreign_code": {"own_code:Noise": "0" * 12}}))
    said: list[str] = []
    with code_allowed():
        pipeline.resume(tmp_path / "run", Controls(warn=said.append))
    assert len(said) == 1
    assert "it began with foreign_code {'own_code:Noise': '000000000000'} and goes on with foreign_code" in said[0]


def test_a_recipe_of_ours_runs_no_foreign_code(tmp_path: Path):
    assert tiny().experiment.foreign_code == []
    named = tiny(*OWN, "model.stages.0.block=own_code:Block").experiment
    assert named.foreign_code == ["own_code:Block", "own_code:Focal", "own_code:Noise"]
    pipeline.start(tiny("train.epochs=1"), tmp_path / "run", Controls())
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["foreign_code"] == {}


def test_memory_that_ran_out_in_it_names_a_smaller_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline.augment, "try_out", lambda *_: None)
    with code_allowed(), pytest.raises(OutOfMemory, match=r"^train.batch_size = 512 takes about"):
        pipeline.start(tiny('train.augment=[{op="own_code:Full"}]'), tmp_path / "run", Controls())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (['train.augment=[{op="own_code:Noise", prob=1}]'],
         "--set: train.augment.0.prob: unknown key; known are op, options, p"),
        (['train.augment=[{op="own code:Noise"}]'],
         "--set: train.augment.0.op: must be 'package.module:Name'; got 'own code:Noise'"),
        (['train.augment=[{op="own_code:Noise", options={most=nan}}]'],
         "--set: train.augment.0.options: numbers must be finite; got {'most': nan}"),
        (['train.augment=[{op="own_code:Noise", options=3}]'],
         "--set: train.augment.0.options: must be a table; got 3"),
        (["train.loss=focal"], "--set: train.loss: must be cross_entropy or 'package.module:Name'; got 'focal'"),
        (["train.loss=cros_entropy"], "--set: train.loss: must be cross_entropy or 'package.module:Name'; "
         "got 'cros_entropy', did you mean 'cross_entropy'?"),
        (["train.loss_options={gamma=2}"],
         "r.toml:7: train: loss_options belong to a loss of your own; cross_entropy reads label_smoothing"),
        (["train.loss=own_code:Focal", "train.label_smoothing=0.1"], "r.toml:7: train: label_smoothing belongs to "
         "cross_entropy, and own_code:Focal does not read it; give 0, or loss_options"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(changes: list[str], words: str):
    with pytest.raises(RecipeError) as caught:
        recipe.parse(TINY, "r.toml", "r", changes)
    assert str(caught.value) == words


def test_plain_data_and_back():
    experiment = tiny(*OWN).experiment
    assert type(experiment).parse(experiment.plain()) == experiment
    assert experiment.plain()["train"]["augment"][1]["options"] == {"most": 40}


@pytest.mark.usefixtures("elsewhere")
class TestCommands:
    @pytest.fixture
    def own(self, tmp_path: Path) -> Path:
        path = tmp_path / "own.toml"
        path.write_text(
            TINY.replace("epochs = 2", 'epochs = 1\nloss = "own_code:Focal"').replace(
                '{ op = "crop", padding = 1 }', '{ op = "own_code:Noise", options = { most = 200 } }'
            )
        )
        return path

    def test_what_runs_nothing_asks_nothing(self, own: Path):
        assert snug(f"plan {own} --json").json["fits"]
        shown = snug(f"show {own}")
        assert 'op = "own_code:Noise"' in shown.out
        assert 'loss = "own_code:Focal"' in shown.out
        assert snug("recipes --json").code == 0

    def test_what_runs_it_asks_first(self, own: Path, tmp_path: Path):
        asks = "runs foreign code, which needs permission; read it, then add --allow-code"
        for command in (f"train {own}", f"train {own} --seeds 2", f"lr-find {own}", f"data show {own}"):
            fails(snug(command), 2, asks)
        assert list(tmp_path.iterdir()) == [own]

    def test_allowed_it_runs(self, own: Path, tmp_path: Path):
        assert snug(f"train {own} --run run --allow-code --json").json["val"] is not None
        assert snug(f"lr-find {own} --steps 5 --allow-code --json").json["curve"]
        assert snug(f"data show {own} --allow-code").code == 0
        (tmp_path / "plain.toml").write_text(TINY)
        assert snug("data show plain.toml -o plain.png").code == 0
        assert (tmp_path / "samples.png").read_bytes() != (tmp_path / "plain.png").read_bytes()
        assert snug("evaluate run").code == 0  # what ships holds neither
