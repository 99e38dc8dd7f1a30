"""Is a difference more than luck? Tests over seeds (another training) and over images (another test set)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev, variance

from scipy import stats
from torch import Tensor

from snugnet.config import Frozen

ALPHA = 0.05
MOST_SEEDS = 1000  # beyond this nobody trains on to settle a difference
NO_SPREAD = 1e-9  # far below one image of any test set: what rounding leaves of equal accuracies


class ImageTest(Frozen):
    """Exact McNemar test of two nets on the same images; says nothing about other seeds."""

    only_a_right: int
    only_b_right: int
    p: float


class SeedTest(Frozen):
    """`p` is absent when no seed differs from another; `more_seeds` of each recipe, when that would settle it."""

    method: str
    n: tuple[int, int]
    p: float | None = None
    more_seeds: int | None = None


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of a normal population; None for fewer than two values."""
    if len(values) < 2:
        return None
    half = float(stats.t.ppf(1 - ALPHA / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def image_test(right_a: Tensor, right_b: Tensor) -> ImageTest:
    """(N,) bool each. Of the images that one net alone gets right, are the two shares equal?"""
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return ImageTest(only_a_right=only_a, only_b_right=only_b, p=float(p))


def seed_test(a: Mapping[int, float], b: Mapping[int, float]) -> SeedTest | None:
    """Paired t-test where both ran the same seeds, else Welch's; None with fewer than two seeds on a side."""
    n = len(a), len(b)
    if min(n) < 2:
        return None
    difference = fmean(b.values()) - fmean(a.values())
    if paired := a.keys() == b.keys():
        spread = stdev(b[seed] - a[seed] for seed in a)
        error, df = spread / sqrt(n[0]), n[0] - 1.0
    else:
        parts = [variance(side.values()) / len(side) for side in (a, b)]
        spread, error = sqrt(variance(a.values()) + variance(b.values())), sqrt(sum(parts))
        bottom = sum(part**2 / (size - 1) for part, size in zip(parts, n, strict=True))
        df = sum(parts) ** 2 / bottom if bottom else 1.0
    p = None if error < NO_SPREAD else float(2 * stats.t.sf(abs(difference) / error, df))
    more = seeds_to_settle(abs(difference), spread, min(n), paired) if p is not None and p >= ALPHA else None
    return SeedTest(method="paired t-test" if paired else "Welch's t-test", n=n, p=p, more_seeds=more)


def seeds_to_settle(difference: float, spread: float, n: int, paired: bool) -> int | None:
    """How many more of each would bring p under 5 %, if difference and spread stayed as they are."""
    for more in range(1, MOST_SEEDS):
        df = (n + more - 1) * (1 if paired else 2)
        if difference * sqrt(n + more) > spread * float(stats.t.ppf(1 - ALPHA / 2, df)):
            return more
    return None


def show_p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
