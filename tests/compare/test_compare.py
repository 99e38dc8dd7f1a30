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


def test_an_interval_ends_at_100_percent():
    (group,) = compare(seeds("a", [0.99, 0.999])).groups
    assert group.interval[1] == 1.0
    assert group.interval[0] < 0.99


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
        "a (19,936,472 B)",
        "a (5,000,000 B)",
    ]


def changed(path, sha, **train):
    """A run of the recipe a, whose configuration has these values in [train]."""
    run = record(path, "a", sha=sha)
    run.config["train"] |= train
    return run


def test_groups_of_one_recipe_are_called_by_what_differs():
    runs = [changed("runs/one", "1"), changed("runs/two", "2", lr=0.2, ema={"decay": 0.9}), record("runs/b", "b")]
    names = [g.name for g in compare(runs).groups]
    assert names == ["a (lr 0.1, no ema)", "a (lr 0.2, ema)", "b"]
    many = dict.fromkeys(("epochs", "lr", "batch_size", "label_smoothing"), 1)
    runs[1] = changed("runs/two", "2", **many)
    assert [g.name for g in compare(runs).groups] == ["a (runs/one)", "a (runs/two)", "b"]


def test_seeds_that_stopped_after_other_epochs_are_one_group():
    runs = [record(f"runs/{seed}", "a", 0.9, seed, epochs=5 + seed, sha="1") for seed in range(2)]
    assert [g.n for g in compare(runs).groups] == [2]


def test_pareto_front_by_hand():
    runs = [
        record("runs/big", "big", 0.95, params=9, bytes=9, macs=9),
        record("runs/small", "small", 0.90, params=1, bytes=1, macs=1),
        record("runs/beaten", "beaten", 0.90, params=2, bytes=1, macs=1),
        record("runs/few-macs", "few-macs", 0.90, params=5, bytes=5, macs=0),
    ]
    assert compare(runs).pareto == ("big", "small", "few-macs")


def timed(run, p50_ms, **changes):
    facts = {"batch": 1, "threads": 1, "device": "cpu", "hardware": "EPYC", "backend": "torch", "version": "2.9.0+cpu"}
    run.bench.update({"p50_ms": p50_ms, **facts, **changes})
    return run


def test_latency_counts_on_the_front_where_all_were_timed_alike():
    quick, slow = (record(f"runs/{name}", name, accuracy) for name, accuracy in (("quick", 0.90), ("slow", 0.91)))
    assert compare([quick, slow]).pareto == ("slow",)
    got = compare([timed(quick, 0.5), slow])
    assert (got.front, got.pareto) == (("params", "bytes", "macs"), ("slow",))
    got = compare([quick, timed(slow, 0.7)])
    assert (got.front[-1], got.pareto) == ("p50_ms", ("quick", "slow"))
    assert got.groups[0].timed == "batch 1, 1 thread on EPYC, torch 2.9.0"
    assert compare([quick, timed(slow, 0.7, threads=2)]).front == ("params", "bytes", "macs")
    assert [group.disturbed for group in compare([quick, timed(slow, 0.7, disturbed=True)]).groups] == [False, True]


def test_a_damaged_timing_is_said():
    run = timed(record("runs/a"), 0.5)
    del run.bench["threads"]
    with pytest.raises(
        ArtifactError, match=r"^runs/a/bench.json: no threads in it; `snug bench runs/a` writes it again$"
    ):
        compare([run])


def test_the_split_may_be_chosen():
    got = compare([record("runs/a", accuracy=0.9)], "val")
    assert (got.split, got.groups[0].mean) == ("val", pytest.approx(0.899))
    with pytest.raises(UsageError, match=r"^--split tets: must be test or val, did you mean 'test'\?$"):
        compare([record("runs/a")], "tets")
    with pytest.raises(UsageError, match=r"^runs/a: no score on val: leave it out, or choose another with --split$"):
        compare([record("runs/a", val=None)], "val")


def test_equal_groups_are_both_on_the_front():
    assert compare([record("runs/a", "a"), record("runs/b", "b")]).pareto == ("a", "b")


def test_nets_of_the_same_seed_are_matched():
    runs = [*seeds("a", [0.9, 0.9], first=1), *seeds("b", [0.9, 0.9], first=2)]
    assert compare(runs).tests[0].nets == ("runs/a-2", "runs/b-2")


def test_verdict_better():
    got = compare([*seeds("a", [0.80, 0.82, 0.81]), *seeds("b", [0.90, 0.93, 0.91])]).tests[0]
    assert got.difference == pytest.approx(0.31 / 3)
    start = (
        "b is better than a by 10.33 points (paired t-test, n = 3 and 3, p = 0.001). "
        "The nets of seed 0, on the same images: "
    )
    assert got.verdict.startswith(start)
    assert got.verdict.endswith("a difference between these two nets (exact McNemar test, p < 0.001).")


def test_verdict_not_settled():
    got = compare([*seeds("a", [0.90, 0.92]), *seeds("b", [0.94, 0.91], first=5)]).tests[0]
    assert got.verdict.startswith(
        "not settled: b leads a by 1.50 points (Welch's t-test, n = 2 and 2, p = 0.504); "
        "about 11 more of each would settle it. The nets of seed 0 of a and seed 5 of b, on the same images: "
    )


def test_verdict_of_single_seeds():
    got = compare([*seeds("a", [0.90]), *seeds("b", [0.90], first=1)]).tests[0]
    assert got.seeds is None
    assert got.verdict.startswith(
        "not settled: a and b are equal, with 1 and 1 seeds; train at least 2 of each. On the same images: "
    )
    assert got.verdict.endswith(" no clear difference between these two nets (exact McNemar test, p = 1.000).")


def test_the_same_predictions_are_no_difference():
    got = compare([*seeds("a", [0.90]), *seeds("b", [0.90])])
    words = "no difference: a and b predict the same class for all 1,000 test images"
    assert (got.tests[0].verdict, got.tests[0].identical, got.tests[0].difference) == (words, True, 0.0)
    assert got.plain()["tests"][0]["verdict"] == words
    several = compare([*seeds("a", [0.90, 0.91]), *seeds("b", [0.90, 0.91])]).tests[0]
    assert several.verdict == words + ", in each of 2 seeds"


def test_equal_accuracy_by_other_images_is_a_difference_that_is_not_settled():
    got = compare([*seeds("a", [0.90, 0.91]), *seeds("b", [0.90, 0.91], first=2)]).tests[0]
    assert not got.identical
    assert got.verdict.startswith("not settled: a and b are equal")


def test_a_run_and_its_copy_are_no_difference():
    got = compare([record("runs/a"), record("runs/copy")])
    assert [group.n for group in got.groups] == [1]
    words = "no difference: runs/a and runs/copy predict the same class for all 1,000 test images"
    assert [test.verdict for test in got.tests] == [words]
    assert compare([record("runs/a"), record("runs/a")]).tests[0].verdict == words.replace("copy", "a")


def test_a_seed_that_came_out_otherwise_is_said():
    (got,) = compare([record("runs/a", seed=3), record("runs/b", accuracy=0.8, seed=3)]).tests
    assert got.verdict.startswith("not the same: runs/a and runs/b, one recipe and seed 3: ")
    assert got.difference == pytest.approx(-0.1)


def test_p_values_of_several_pairs_are_adjusted():
    runs = [*seeds("a", [0.80, 0.82, 0.81]), *seeds("b", [0.82, 0.825, 0.815]), *seeds("c", [0.90, 0.93, 0.91])]
    tests = compare(runs).tests
    raw = sorted(test.seeds.p for test in tests)
    held = sorted(test.seeds.p_adjusted for test in tests)
    assert held == pytest.approx([3 * raw[0], max(3 * raw[0], 2 * raw[1]), max(2 * raw[1], raw[2])])
    assert all(test.seeds.pairs == test.images.pairs == 3 for test in tests)
    assert ", by Holm over 3 pairs p = " in tests[0].verdict


def test_what_only_one_pair_would_have_settled_is_not_settled_among_three():
    """p is under 5 % alone; Holm doubles it, as another pair has a smaller one."""
    a, b, c = [0.80, 0.81, 0.82], [0.8099, 0.8242, 0.8269], [0.80, 0.815, 0.817]
    alone = compare([*seeds("a", a), *seeds("b", b)]).tests[0]
    among = compare([*seeds("a", a), *seeds("b", b), *seeds("c", c)]).tests[0]
    assert alone.seeds.p < 0.05
    assert alone.is_settled
    assert among.seeds.p == alone.seeds.p
    assert not among.is_settled
    assert among.verdict.startswith("not settled: b leads a by ")
    assert among.seeds.more_seeds


def test_runs_on_different_data_are_not_compared():
    got = compare([*seeds("a", [0.9, 0.91]), *seeds("b", [0.9, 0.91], data=1)]).tests[0]
    assert (got.same_data, got.images, got.seeds) == (False, None, None)
    assert got.verdict == "not compared: a and b were scored on different test images"


def test_val_where_a_run_has_no_test():
    assert compare([record("runs/a", "a", test=None), record("runs/b", "b")]).split == "val"


def test_plain_and_back():
    got = compare([*seeds("a", [0.90, 0.92]), *seeds("b", [0.94])])
    plain = got.plain()
    assert set(plain) >= {"split", "runs", "groups", "pareto", "tests"}
    assert (plain["groups"][1]["std"], plain["picked"]) == (None, None)
    assert Comparison.parse(plain) == got


@pytest.mark.parametrize(
    ("runs", "error", "words"),
    [
        ([], UsageError, "a comparison needs at least one run: name run directories, as in `snug compare runs/*`"),
        (
            [record("runs/a"), unfinished()],
            ArtifactError,
            "runs/half: the run is not finished: finish it with `snug resume runs/half`",
        ),
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
        "too small a difference to settle with a sensible number of seeds. The nets of seed 0, on the same images: "
    )


def test_more_seeds_than_is_sensible_are_not_advised():
    near = compare([*seeds("a", [0.90, 0.91, 0.92]), *seeds("b", [0.914, 0.901, 0.919], first=5)]).tests[0]
    assert near.seeds.more_seeds > 20
    assert "too small a difference to settle with a sensible number of seeds. " in near.verdict
