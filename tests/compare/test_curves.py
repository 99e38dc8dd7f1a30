import pytest

from fakes import record
from snugnet.compare import compare
from snugnet.compare.curves import (
    BY_AREA,
    ESTIMATED,
    SAM,
    TAUGHT,
    WARM,
    Curve,
    at_flops,
    common_flops,
    counted,
    curve,
    first_to_reach,
    moving_average,
    shares_by_epoch,
)


def run(path="a", val=(0.5, 0.8, 0.79, 0.95), flops=(10.0, 20.0, 30.0, 40.0)):
    epochs = tuple(range(1, len(val) + 1))
    seconds = tuple(2.5 * epoch for epoch in epochs)
    nothing = (None,) * len(val)
    return Curve(
        path=path, epoch=epochs, seconds=seconds, flops=flops, train_loss=nothing, val_loss=nothing, val_accuracy=val
    )


def test_the_first_epoch_that_reached_a_target():
    found = first_to_reach(run())
    assert [(each.target, each.epochs, each.seconds) for each in found] == [
        (0.80, 2, 5.0), (0.90, 4, 10.0), (0.94, 4, 10.0),
    ]  # fmt: skip
    assert [each.epochs for each in first_to_reach(run(val=(0.5, 0.7999, None)))] == [None] * 3


def test_a_mean_over_seeds_is_of_all_seeds():
    runs = [record(f"runs/a-{seed}", "a", accuracy, seed, images=100) for seed, accuracy in enumerate((0.95, 0.93))]
    got = compare(runs)
    at_80, at_90, at_94 = got.groups[0].reached
    own = [[row.reached[k].epochs for row in got.runs] for k in range(3)]
    assert at_80.epochs == pytest.approx(sum(own[0]) / 2)
    assert at_80.seconds == pytest.approx(31.0 * at_80.epochs)
    assert (at_90.reached, at_90.n) == (sum(each is not None for each in own[1]), 2)
    assert (at_94.reached, at_94.epochs) == (0, None)
    plain = got.plain()["groups"][0]["reached"][2]
    assert plain == {"target": 0.94, "reached": 0, "n": 2, "epochs": None, "seconds": None}


def test_flops_are_six_times_macs_times_images():
    got = curve(record(epochs=3, macs=1000))
    assert got.flops == pytest.approx((6e3 * 45_000, 12e3 * 45_000, 18e3 * 45_000))
    assert got.notes == ()


def test_an_older_run_s_images_are_estimated_and_that_is_said():
    old = record(epochs=3, macs=1000)
    for line in old.metrics:
        del line["images"]
    old.metrics[1]["seconds"] = 1.0  # resumed in the middle of the epoch
    got = curve(old)
    assert got.notes == (ESTIMATED,)
    assert got.flops == pytest.approx([6e3 * 1450 * 31 * n for n in (1, 2, 3)])


def test_sam_and_a_parent_are_counted_and_said():
    again = record(epochs=1, macs=1000)
    again.config["train"] |= {"optimizer": {"sam": {"rho": 0.05}}, "init_from": "runs/parent"}
    again.config["distill"] = {"teachers": ["runs/big"]}
    assert curve(again).flops == (12e3 * 45_000,)
    assert set(curve(again).notes) == {SAM, TAUGHT, WARM}


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (0.5, [{6: 1.0}, {6: 1.0}, {None: 1.0}, {None: 1.0}]),
        (0.3, [{6: 1.0}, {6: pytest.approx(0.2), None: pytest.approx(0.8)}, {None: 1.0}, {None: 1.0}]),
    ],
)
def test_the_share_of_an_epoch_at_each_size(until, expected):
    assert shares_by_epoch([{"until": until, "size": 6}], planned=4, epochs=4) == expected


def test_a_run_that_stopped_early_is_cut_where_it_was_planned_to_change():
    assert shares_by_epoch([{"until": 0.5, "size": 6}], planned=4, epochs=1) == [{6: 1.0}]


def test_smaller_images_cost_what_the_net_takes_for_them():
    model = {
        "in_channels": 3,
        "image_size": 32,
        "classes": 10,
        "stages": [{"block": "basic", "blocks": 1, "channels": 8}],
    }
    small = record(epochs=2, macs=1_000_000)
    small.config["model"] = model
    small.config["train"] |= {"progressive": [{"until": 0.5, "size": 16}], "epochs": 2}
    first, second = curve(small).flops
    full = counted('{"stages": [{"block": "basic", "blocks": 1, "channels": 8}]}', 32)
    half = counted('{"stages": [{"block": "basic", "blocks": 1, "channels": 8}]}', 16)
    assert first == pytest.approx(6 * half * 45_000)
    assert second - first == pytest.approx(6e6 * 45_000)
    assert 0.2 < half / full < 0.3


def test_a_net_that_cannot_be_counted_is_taken_by_area_and_said():
    own = record(epochs=1, macs=1000)
    own.config["model"] = {"image_size": 32, "stages": [{"block": "own:Block", "blocks": 1, "channels": 8}]}
    own.config["train"] |= {"progressive": [{"until": 0.99, "size": 16}], "epochs": 1}
    assert curve(own).notes == (BY_AREA,)
    assert curve(own).flops[0] == pytest.approx(6 * 45_000 * (0.99 * 250 + 0.01 * 1000))


def test_equal_flops_are_the_most_that_all_reached():
    short, long = run(flops=(4.0, 8.0, 12.0, 16.0)), run()
    assert common_flops([short, long]) == 16.0
    found = at_flops(long, 16.0)
    assert (found.epoch, found.flops, found.val_accuracy) == pytest.approx((1.6, 16.0, 0.5 + 0.6 * 0.3))
    assert at_flops(short, 16.0).epoch == 4
    unjudged = at_flops(run(val=(0.5, None, None, None)), 16.0)
    assert (unjudged.epoch, unjudged.flops, unjudged.val_accuracy) == (1, 10.0, 0.5)
    assert at_flops(run(flops=(17.0, 34.0, 51.0, 68.0)), 16.0).val_accuracy is None
    assert common_flops([]) is None


def test_a_last_epoch_that_is_just_missed_counts_almost_whole():
    dearer = run(val=(0.4, 0.5, 0.6, 0.7), flops=(10.05, 20.1, 30.15, 40.2))
    assert at_flops(dearer, 40.0).val_accuracy == pytest.approx(0.7, abs=0.0021)
    assert at_flops(dearer, 30.15).val_accuracy == pytest.approx(0.6)


def test_equal_flops_of_a_comparison():
    cheap = [record(f"runs/c-{seed}", "cheap", 0.9, seed, images=100, macs=1000) for seed in range(2)]
    dear = [record(f"runs/d-{seed}", "dear", 0.9, seed, images=100, macs=2000) for seed in range(2)]
    got = compare([*cheap, *dear]).equal_flops
    assert got.flops == pytest.approx(10 * 6e3 * 45_000)
    assert [row.epoch for row in got.runs] == [10, 10, 5, 5]
    assert got.means == pytest.approx({"cheap": 0.9 - 0.5 * 0.7**10, "dear": 0.9 - 0.5 * 0.7**5})


def test_a_moving_average_does_not_lag():
    assert moving_average([1.0, 3.0, 5.0, 7.0], window=3) == (1.0, 3.0, 5.0, 7.0)
    assert moving_average([0.0, 3.0, 0.0, 0.0, 5.0, 0.0], window=5) == pytest.approx((0.0, 1.0, 1.6, 1.6, 5 / 3, 0.0))
    assert moving_average([1.0, None, 5.0], window=3) == (1.0, None, 5.0)


def test_a_loss_that_is_no_number_is_not_known():
    broken = record(epochs=2)
    broken.metrics[1]["val_loss"] = float("nan")
    assert curve(broken).val_loss[1] is None
    assert "nan" not in str(compare([broken]).plain()["curves"]).lower()
