import pytest

from fakes import record, unfinished
from snugnet.compare import Comparison, compare
from snugnet.errors import ArtifactError, DataError, UsageError


def seeds(recipe, accuracies, first=0, **changes):
    return [
        record(f"runs/{recipe}-{seed}", recipe, accuracy, seed, **changes)
        for seed, accuracy in enumerate(accuracies, first)
    ]


def test_seeds_of_one_recipe_are_one_group():
    got = compare(seeds("a", [0.90, 0.91, 0.95]))
    (group,) = got.groups
    assert (group.name, group.n, group.seeds) == ("a", 3, (0, 1, 2))
    assert group.mean == pytest.approx(0.92)
    assert group.std == pytest.approx(0.0264575)
    assert group.interval == pytest.approx((0.854276, 0.985724), abs=1e-6)
    assert got.split == "test"
    assert got.tests == ()


def test_a_single_run_has_no_spread():
    (group,) = compare(seeds("a", [0.9])).groups
    assert (group.n, group.std, group.interval) == (1, None, None)


def test_a_seed_that_ran_twice_counts_once():
    again = record("runs/again", "a", 0.94, seed=0)
    (group,) = compare([*seeds("a", [0.90, 0.91]), again]).groups
    assert group.n == 2
    assert group.mean == pytest.approx((0.92 + 0.91) / 2)


def test_a_compressed_run_is_a_group_of_its_own():
    parent, small = record("runs/p", "a"), record("runs/s", "a", bytes=5_000_000)
    assert [g.name for g in compare([parent, small]).groups] == [
        "a (6100000, 10 epochs, 19,936,472 B)",
        "a (6100000, 10 epochs, 5,000,000 B)",
    ]


def test_pareto_front_by_hand():
    runs = [
        record("runs/big", "big", 0.95, params=9, bytes=9, macs=9),
        record("runs/small", "small", 0.90, params=1, bytes=1, macs=1),
        record("runs/beaten", "beaten", 0.90, params=2, bytes=1, macs=1),
        record("runs/few-macs", "few-macs", 0.90, params=5, bytes=5, macs=0),
    ]
    assert compare(runs).pareto == ("big", "small", "few-macs")


def test_equal_groups_are_both_on_the_front():
    assert compare([record("runs/a", "a"), record("runs/b", "b")]).pareto == ("a", "b")


def test_nets_of_the_same_seed_are_matched():
    runs = [*seeds("a", [0.9, 0.9], first=1), *seeds("b", [0.9, 0.9], first=2)]
    assert compare(runs).tests[0].nets == ("runs/a-2", "runs/b-2")


def test_verdict_better():
    got = compare([*seeds("a", [0.80, 0.82, 0.81]), *seeds("b", [0.90, 0.93, 0.91])]).tests[0]
    assert got.difference == pytest.approx(0.31 / 3)
    start = "b is better than a by 10.33 points (paired t-test, n = 3 and 3, p = 0.001). On the same images: "
    assert got.verdict.startswith(start)
    assert got.verdict.endswith("a difference between these two nets (exact McNemar test, p < 0.001).")


def test_verdict_not_settled():
    got = compare([*seeds("a", [0.90, 0.92]), *seeds("b", [0.94, 0.91], first=5)]).tests[0]
    assert got.verdict.startswith(
        "not settled: b leads a by 1.50 points (Welch's t-test, n = 2 and 2, p = 0.504); "
        "about 11 more of each would settle it. On the same images: "
    )


def test_verdict_of_single_seeds():
    got = compare([*seeds("a", [0.90]), *seeds("b", [0.90])]).tests[0]
    assert got.seeds is None
    assert got.verdict == (
        "not settled: a and b are equal, with 1 and 1 seeds; train at least 2 of each. On the same images: "
        "0 right by a alone, 0 by b alone: no clear difference between these two nets (exact McNemar test, p = 1.000)."
    )


def test_runs_on_different_data_are_not_compared():
    got = compare([*seeds("a", [0.9, 0.91]), *seeds("b", [0.9, 0.91], data=1)]).tests[0]
    assert (got.same_data, got.images, got.seeds) == (False, None, None)
    assert got.verdict == "not compared: a and b were scored on different test images"


def test_val_where_a_run_has_no_test():
    assert compare([record("runs/a", "a", test=None), record("runs/b", "b")]).split == "val"


def test_plain_and_back():
    got = compare([*seeds("a", [0.90, 0.92]), *seeds("b", [0.94])])
    plain = got.plain()
    assert set(plain) == {"split", "runs", "groups", "pareto", "tests"}
    assert Comparison.parse(plain) == got


@pytest.mark.parametrize(
    ("runs", "error", "words"),
    [
        ([], UsageError, "a comparison needs at least one run: name run directories, as in `snug compare runs/*`"),
        (
            [record("runs/a"), unfinished()],
            UsageError,
            "runs/half: the run is not finished: finish it with `snug resume runs/half`",
        ),
        ([record("runs/a"), record("runs/a")], UsageError, "runs/a: given twice: name each run once"),
        (
            [record("runs/a", test=None), record("runs/b", val=None)],
            UsageError,
            "runs/a: no score on test, and not all runs have one on val: leave it out",
        ),
        (
            [record("runs/a"), record("runs/b", seed=1, data=1)],
            DataError,
            "runs/a and runs/b: one recipe, but different test images: compare runs on the same data",
        ),
    ],
)
def test_messages(runs, error, words):
    with pytest.raises(error) as caught:
        compare(runs)
    assert str(caught.value) == words


def test_missing_predictions_are_said():
    run = record("runs/a")
    run.stored.clear()
    with pytest.raises(ArtifactError, match=r"^runs/a: no predictions on test$"):
        compare([run])


def test_verdict_of_equal_means():
    got = compare([*seeds("a", [0.90, 0.92]), *seeds("b", [0.92, 0.90])]).tests[0]
    assert got.verdict.startswith(
        "not settled: a and b are equal (paired t-test, n = 2 and 2, p = 1.000); "
        "no practical number of seeds would settle it. On the same images: "
    )
