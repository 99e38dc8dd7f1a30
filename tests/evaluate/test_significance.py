import numpy as np
import pytest
import torch
from scipy import stats

from snugnet.evaluate.significance import image_test, seed_test, seeds_to_settle, show_p, t_interval


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
