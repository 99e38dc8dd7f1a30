from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from small_runs import tiny
from snugnet import recipe
from snugnet.data import splits
from snugnet.data.loader import EvalLoader, TrainLoader
from snugnet.device import Compute
from snugnet.errors import Diverged
from snugnet.models import resnet
from snugnet.recipe import Experiment
from snugnet.train import loop
from snugnet.train.loop import Epoch, Step

CPU = torch.device("cpu")
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "digits.json").read_text())


def progress(experiment: Experiment, *, val: bool = True, compute: Compute | None = None) -> Iterator[Step | Epoch]:
    data = splits.open_splits(experiment.data)
    config = experiment.train
    spec = experiment.model.replaced(in_channels=1, image_size=8)
    torch.manual_seed(experiment.seed)
    train = TrainLoader(
        data.train, data.normalization, classes=10, batch_size=config.batch_size, augment=config.augment,
        seed=experiment.seed, device=CPU,
    )  # fmt: skip
    held_out = EvalLoader(data.val, data.normalization, batch_size=500, device=CPU) if val else None
    return loop.fit(resnet.build(spec), train, held_out, config, compute or Compute(CPU, "fp32"))


def epochs(experiment: Experiment, **options: Any) -> list[Epoch]:
    return [each for each in progress(experiment, **options) if isinstance(each, Epoch)]


def facts(epoch: Epoch) -> dict[str, object]:
    return {name: value for name, value in epoch.line().items() if name not in ("seconds", "images_per_second")}


def weights(epoch: Epoch) -> bytes:
    model = epoch.state()["model"]
    return b"".join(model[name].contiguous().view(-1).numpy().tobytes() for name in sorted(model))


def test_same_seed_same_curve():
    first, second = epochs(tiny().experiment), epochs(tiny().experiment)
    assert [facts(each) for each in first] == [facts(each) for each in second]
    assert weights(first[-1]) == weights(second[-1])


def test_another_seed_another_curve():
    first, second = epochs(tiny().experiment), epochs(tiny("seed=1").experiment)
    assert first[0].train_loss != second[0].train_loss
    assert weights(first[-1]) != weights(second[-1])


def test_golden_curve():
    """snugnet/digits in fp32. Other versions of torch sum in another order: losses agree to 1e-3, not bitwise."""
    changes = ["train.epochs=2", "train.precision=fp32"]
    seen = epochs(recipe.load("snugnet/digits", changes).experiment)
    assert [each.train_loss for each in seen] == pytest.approx(GOLDEN["train_loss"], abs=1e-3)
    assert [each.val_loss for each in seen] == pytest.approx(GOLDEN["val_loss"], abs=1e-2)
    assert [each.lr for each in seen] == pytest.approx(GOLDEN["lr"], abs=1e-6)


def test_every_batch_and_every_epoch_is_told():
    seen = list(progress(tiny().experiment))
    assert [type(each).__name__ for each in seen] == ["Step", "Step", "Step", "Epoch"] * 2
    steps = [each for each in seen if isinstance(each, Step)]
    assert [(each.epoch, each.step, each.steps) for each in steps] == [(e, s, 3) for e in (1, 2) for s in (1, 2, 3)]
    assert [each.images for each in steps[:3]] == [512, 1024, 1295]


def test_an_epoch_s_loss_is_the_mean_of_its_steps():
    means = []
    for each in progress(tiny().experiment):
        if isinstance(each, Step):
            means.append(each.loss())
        else:
            assert each.train_loss == means[-1]
    assert means[0] != means[1]


def test_without_val_nothing_is_judged():
    assert {(each.val_loss, each.val_accuracy) for each in epochs(tiny().experiment, val=False)} == {(None, None)}


def test_a_state_shares_no_memory_with_the_learner():
    states = [each.state() for each in progress(tiny().experiment) if isinstance(each, Step)]
    name = "head.weight" if "head.weight" in states[0]["model"] else next(iter(states[0]["model"]))
    assert not torch.equal(states[0]["model"][name], states[-1]["model"][name])


def test_the_average_ships_where_there_is_one():
    with_ema = epochs(tiny("train.ema.decay=0.9").experiment)[-1].state()
    assert loop.shipped_weights(with_ema) == (with_ema["ema"], "ema")
    without = epochs(tiny().experiment)[-1].state()
    assert loop.shipped_weights(without) == (without["model"], "last")


def test_validation_judges_the_average():
    plain, averaged = epochs(tiny().experiment)[-1], epochs(tiny("train.ema.decay=0.9").experiment)[-1]
    assert plain.train_loss == averaged.train_loss
    assert plain.val_loss != averaged.val_loss


WILD = ["train.optimizer.lr=100", "train.optimizer.weight_decay=10", "train.epochs=20"]


def test_a_diverged_loss_names_step_and_remedy():
    words = (
        r"^epoch \d+(, step [123]: the loss|: stem.conv.weight) must be finite, but is .*; lower train.optimizer.lr "
        r"\(now 100\), (lengthen train.schedule.warmup_epochs, )?or set train.clip_norm = 1.0$"
    )
    with pytest.raises(Diverged, match=words):
        epochs(tiny(*WILD).experiment)


def test_gradients_are_clipped():
    calm = epochs(tiny("train.clip_norm=1e-9", "train.optimizer.momentum=0").experiment)
    wild = epochs(tiny().experiment)
    assert abs(calm[1].train_loss - calm[0].train_loss) < 0.05 < abs(wild[1].train_loss - wild[0].train_loss)


def test_label_smoothing_raises_the_least_loss():
    assert (
        epochs(tiny("train.label_smoothing=0.5").experiment)[-1].train_loss > epochs(tiny().experiment)[-1].train_loss
    )


def test_the_net_trains_in_the_precision_asked_for():
    fp32, bf16 = (
        [each.train_loss for each in epochs(tiny().experiment, compute=Compute(CPU, precision))]
        for precision in ("fp32", "bf16")
    )
    assert fp32 != bf16
    assert fp32 == pytest.approx(bf16, abs=0.05)
