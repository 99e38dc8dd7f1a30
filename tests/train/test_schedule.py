import warnings

import pytest
import torch
from pydantic import ValidationError

from snugnet import recipe
from snugnet.train.schedule import ScheduleConfig

EPOCHS, STEPS = 30, 7


def factors(schedule, epochs=EPOCHS, steps=STEPS):
    return [schedule.factor(step, steps, epochs) for step in range(epochs * steps)]


def torch_factors(make, moves, stay=1):
    """What a scheduler of torch gives over `moves` moves, each in force for `stay` steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants an optimizer.step between two moves
        for _ in range(moves):
            found += [optimizer.param_groups[0]["lr"]] * stay
            scheduler.step()
    return found


SCHEDULERS = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("config", "make"),
    [
        ({"name": "constant"}, lambda o: SCHEDULERS.LambdaLR(o, lambda _: 1.0)),
        ({"name": "cosine"}, lambda o: SCHEDULERS.CosineAnnealingLR(o, EPOCHS)),
        ({"name": "cosine", "final": 0.2}, lambda o: SCHEDULERS.CosineAnnealingLR(o, EPOCHS, 0.2)),
        ({"name": "linear"}, lambda o: SCHEDULERS.LinearLR(o, 1.0, 0.0, EPOCHS)),
        ({"name": "step", "every": 4, "gamma": 0.5}, lambda o: SCHEDULERS.StepLR(o, 4, 0.5)),
        ({"name": "multistep", "milestones": [5, 20]}, lambda o: SCHEDULERS.MultiStepLR(o, [5, 20])),
    ],
)
def test_torch_agrees_epoch_by_epoch(config, make):
    assert factors(ScheduleConfig.parse(config)) == pytest.approx(torch_factors(make, EPOCHS, STEPS), abs=1e-12)


@pytest.mark.parametrize(
    ("config", "make"),
    [
        ({"name": "cosine"}, lambda o: SCHEDULERS.CosineAnnealingLR(o, EPOCHS * STEPS)),
        ({"name": "linear", "final": 0.1}, lambda o: SCHEDULERS.LinearLR(o, 1.0, 0.1, EPOCHS * STEPS)),
        ({"name": "multistep", "milestones": [5]}, lambda o: SCHEDULERS.MultiStepLR(o, [5 * STEPS])),
    ],
)
def test_torch_agrees_batch_by_batch(config, make):
    found = factors(ScheduleConfig.parse(config | {"per": "batch"}))
    assert found == pytest.approx(torch_factors(make, EPOCHS * STEPS), abs=1e-12)


def test_the_warm_up_of_durga25():
    """lr = 0.01 + 0.09 (e + 1) / 25 for 25 epochs, then a cosine over the 225 that are left."""
    schedule = ScheduleConfig(name="cosine", warmup_epochs=25.0, warmup_from=0.1)
    lrs = [0.1 * factor for factor in factors(schedule, 250, 1)]
    assert lrs[:25] == pytest.approx([0.01 + 0.09 * (epoch + 1) / 25 for epoch in range(25)])
    cosine = torch_factors(lambda o: SCHEDULERS.CosineAnnealingLR(o, 225), 225)
    assert lrs[25:] == pytest.approx([0.1 * factor for factor in cosine], abs=1e-12)


def test_the_schedule_of_aswani22_only_climbs():
    """1e-4 to 0.01 in 2,000 steps, stepped once an epoch for 200 epochs."""
    train = recipe.load("aswani22/row3-final").experiment.train
    lrs = [train.optimizer.lr * factor for factor in factors(train.schedule, 200, 3)[::3]]
    assert lrs == pytest.approx([1e-4 + (0.01 - 1e-4) * epoch / 2000 for epoch in range(200)], rel=1e-14)


CYCLE = {"base_lr": 0.2, "max_lr": 1.0, "cycle_momentum": False}
ONE = {"max_lr": 1.0, "final_div_factor": 1e4, "cycle_momentum": False}


@pytest.mark.parametrize(
    ("config", "make"),
    [
        ({"name": "restarts", "restart_every": 4}, lambda o: SCHEDULERS.CosineAnnealingWarmRestarts(o, 4)),
        (
            {"name": "restarts", "restart_every": 3, "restart_growth": 2, "final": 0.1},
            lambda o: SCHEDULERS.CosineAnnealingWarmRestarts(o, 3, 2, 0.1),
        ),
        ({"name": "cyclic", "base": 0.2, "step_size_up": 7}, lambda o: SCHEDULERS.CyclicLR(o, step_size_up=7, **CYCLE)),
        ({"name": "one_cycle", "final": 4e-6}, lambda o: SCHEDULERS.OneCycleLR(o, total_steps=EPOCHS, **ONE)),
    ],
)
def test_torch_agrees_on_cycles(config, make):
    expected = torch_factors(make, EPOCHS)
    assert factors(ScheduleConfig.parse(config)) == pytest.approx([lr for lr in expected for _ in range(STEPS)])
    if config["name"] in ("cyclic", "one_cycle"):
        per_batch = factors(ScheduleConfig.parse(config | {"per": "batch"}), EPOCHS // 3, 3)
        assert per_batch == pytest.approx(expected)


ACCURACIES = [0.1, 0.3, 0.3, 0.30001, 0.2, 0.4, 0.4, 0.39, 0.4, 0.38, 0.37, 0.41, 0.1, 0.1, 0.1]


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
@pytest.mark.parametrize("patience", [0, 1, 2, 4])
def test_torch_agrees_on_plateaus(metric, patience):
    schedule = ScheduleConfig(name="plateau", metric=metric, patience=patience, gamma=0.5)
    history = [(1 - accuracy, accuracy) for accuracy in ACCURACIES]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    mode = "max" if metric == "accuracy" else "min"
    scheduler = SCHEDULERS.ReduceLROnPlateau(optimizer, mode, 0.5, patience)
    for done, (loss, accuracy) in enumerate(history):
        assert schedule.factor(done * STEPS, STEPS, EPOCHS, history[:done]) == optimizer.param_groups[0]["lr"]
        scheduler.step(accuracy if metric == "accuracy" else loss)
    assert optimizer.param_groups[0]["lr"] < 1


@pytest.mark.parametrize("per", ["batch", "epoch"])
def test_warm_up_and_curve_meet_at_the_peak(per):
    schedule = ScheduleConfig(name="linear", per=per, warmup_epochs=3.0)
    found = factors(schedule)
    assert 0 < found[0] == pytest.approx(1 / (3 * STEPS) if per == "batch" else 1 / 3)
    assert found[3 * STEPS - 1] == found[3 * STEPS] == 1
    last = 1 / ((EPOCHS - 3) * STEPS) if per == "batch" else 1 / (EPOCHS - 3)
    assert found[-1] == pytest.approx(last)
    assert all(0 < factor <= 1 for factor in found)
    if per == "epoch":
        assert all(len(set(found[e * STEPS : (e + 1) * STEPS])) == 1 for e in range(EPOCHS))


@pytest.mark.parametrize(
    ("words", "config"),
    [
        ("'every' (epochs between two drops) belongs to name = 'step', and it needs it", {"name": "step"}),
        ("'every' (epochs between two drops) belongs to name = 'step'", {"name": "cosine", "every": 3}),
        ("'milestones' (epochs of the drops) belong to name = 'multistep', and it needs them", {"name": "multistep"}),
        ("'milestones' (epochs of the drops) belong to name", {"milestones": [3]}),
        ("'restart_every' (epochs of the first cycle) belongs to name = 'restarts'", {"name": "restarts"}),
        (
            "warmup_epochs = 1 with per = 'epoch' would do nothing: the first epoch has the whole rate already; give "
            "per = 'batch', or 2 epochs or more",
            {"warmup_epochs": 1.0},
        ),
        ("'step_size_up' (moves from foot to peak) belongs to name = 'cyclic'", {"name": "cyclic"}),
        ("'plateau' needs per = 'epoch': val is judged once an epoch", {"name": "plateau", "per": "batch"}),
        ("milestones must rise; got [75, 50]", {"name": "multistep", "milestones": [75, 50]}),
        ("milestones must rise; got [50, 50]", {"name": "multistep", "milestones": [50, 50]}),
    ],
)
def test_what_does_not_belong_together(words, config):
    with pytest.raises(ValidationError) as caught:
        ScheduleConfig.parse(config)
    assert words in str(caught.value)
