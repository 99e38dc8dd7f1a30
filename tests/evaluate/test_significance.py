import numpy as np
import pytest
import torch
from scipy import stats

from snugnet.evaluate.significance import adjusted, holm, image_test, seed_test, seeds_to_settle, show_p, t_interval


def test_paired_over_the_same_seeds():
    a, b = {0: 0.90, 1: 0.92, 2: 0.91}, {0: 0.91, 1: 0.935, 2: 0.92}
    got = seed_test(a, b)
    assert got.method == "paired t-test"
    assert got.p == pytest.approx(stats.ttest_rel(list(b.values()), list(a.values())).pvalue)
    assert got.more_seeds is None


def test_welch_over_different_seeds():
    a, b = {0: 0.90, 1: 0.92, 2: 0.91}, {3: 0.91, 4: 0.95}
    got = seed_test(a, b)
    assert got.method == "Welch's t-test"
    assert got.p == pytest.approx(stats.ttest_ind(list(b.values()), list(a.values()), equal_var=False).pvalue)
    assert got.more_seeds


def test_no_test_without_spread():
    assert seed_test({0: 0.8}, {0: 0.9, 1: 0.9}) is None
    assert seed_test({0: 0.8, 1: 0.7}, {0: 0.9, 1: 0.8}).p is None
    assert seed_test({0: 0.8, 1: 0.8}, {2: 0.9, 3: 0.9}).p is None


def test_seeds_to_settle_is_the_least_number_that_does():
    more = seeds_to_settle(0.01, 0.02, 3, paired=True)
    p = [2 * stats.t.sf(0.01 * (3 + k) ** 0.5 / 0.02, 2 + k) for k in (more - 1, more)]
    assert p[0] >= 0.05 > p[1]
    assert seeds_to_settle(0.0, 0.02, 3, paired=True) is None


def test_mcnemar_by_hand():
    a, b = torch.tensor([1] * 9 + [0] * 3).bool(), torch.tensor([0] * 8 + [1] * 4).bool()
    got = image_test(a, b)
    assert (got.only_a_right, got.only_b_right) == (8, 3)
    assert got.p == pytest.approx(stats.binomtest(3, 11).pvalue)
    assert image_test(a, a).p == 1.0


@pytest.mark.parametrize(("p", "words"), [(0.00099, "p < 0.001"), (0.001, "p = 0.001"), (1.0, "p = 1.000")])
def test_show_p(p, words):
    assert show_p(p) == words


def test_t_interval_is_scipy_s():
    values = [0.90, 0.91, 0.95]
    assert t_interval(values) == pytest.approx(stats.t.interval(0.95, 2, np.mean(values), stats.sem(values)))
    assert t_interval([0.9]) is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_what_has_no_p_is_not_counted_among_the_pairs():
    tested, untested = seed_test({0: 0.8, 1: 0.7}, {0: 0.9, 1: 0.85}), seed_test({0: 0.8, 1: 0.7}, {0: 0.9, 1: 0.8})
    got = adjusted([tested, None, untested, tested])
    assert [None if each is None else each.p_adjusted for each in got] == [2 * tested.p, None, None, 2 * tested.p]
    assert (got[0].pairs, got[0].words) == (2, f"{show_p(tested.p)}, by Holm over 2 pairs {show_p(2 * tested.p)}")


def test_more_seeds_are_counted_at_the_strictest_level():
    a, b = {0: 0.90, 1: 0.92, 2: 0.91}, {0: 0.905, 1: 0.940, 2: 0.912}
    assert seed_test(a, b).more_seeds < seed_test(a, b, pairs=10).more_seeds


SPREAD, SEEDS = 0.002, 5  # 0.2 points, as five seeds of a recipe have


def simulated(count, difference, recipes=2, shared=True):
    """Accuracies by seed of so many comparisons: normal, each seed on its own; the last recipe is better."""
    draws = np.random.default_rng(0).normal(0.9, SPREAD, (count, recipes, SEEDS))
    draws[:, -1] += difference
    for rows in draws.tolist():
        yield [dict(enumerate(row, 0 if shared else SEEDS * place)) for place, row in enumerate(rows)]


@pytest.mark.parametrize("shared", [True, False], ids=["paired", "Welch"])
def test_luck_is_taken_for_a_difference_in_5_of_100(shared):
    alarms = [seed_test(*pair).is_settled for pair in simulated(5_000, 0.0, shared=shared)]
    assert 0.04 <= np.mean(alarms) <= 0.06


@pytest.mark.parametrize("shared", [True, False], ids=["paired", "Welch"])
def test_a_point_of_difference_is_found_with_five_seeds(shared):
    found = [seed_test(*pair).is_settled for pair in simulated(1_000, 0.01, shared=shared)]
    assert np.mean(found) > 0.95


def test_among_several_recipes_a_false_alarm_stays_as_rare():
    any_alone, any_adjusted = [], []
    for a, b, c in simulated(2_000, 0.0, recipes=3):
        tests = [seed_test(a, b, 3), seed_test(a, c, 3), seed_test(b, c, 3)]
        any_alone.append(any(test.p < 0.05 for test in tests))
        any_adjusted.append(any(test.is_settled for test in adjusted(tests)))
    assert np.mean(any_adjusted) < 0.06
    assert np.mean(any_alone) > 0.08


def test_two_nets_as_good_as_each_other_are_rarely_told_apart_by_images():
    right = torch.rand(1_000, 2, 1_000, generator=torch.Generator().manual_seed(0)) < 0.9
    alarms = [image_test(a, b).is_settled for a, b in right.unbind()]
    assert 0.02 < np.mean(alarms) <= 0.05
