"""Is a difference more than luck? Tests over seeds (another training) and over images (another test set)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import sqrt
from statistics import fmean, stdev, variance
from typing import Any, TypeVar

import numpy as np
from scipy import special, stats
from torch import Tensor

from snugnet.config import Frozen

ALPHA = 0.05
MOST_SEEDS = 1000  # beyond this nobody trains on to settle a difference
NO_SPREAD = 1e-9  # far below one image of any test set: what rounding leaves of equal accuracies


class LuckTest(Frozen):
    """`p` is of this pair alone, null where there is no test; `p_adjusted` by Holm for all `pairs` that were tested."""

    p: float | None = None
    p_adjusted: float | None = None
    pairs: int = 1

    @property
    def is_settled(self) -> bool:
        return self.p_adjusted is not None and self.p_adjusted < ALPHA

    @property
    def words(self) -> str:
        assert self.p is not None
        assert self.p_adjusted is not None
        alone = show_p(self.p)
        return alone if self.pairs == 1 else f"{alone}, by Holm over {self.pairs} pairs {show_p(self.p_adjusted)}"


class ImageTest(LuckTest):
    """Exact McNemar test of two nets on the same images; says nothing about other seeds."""

    only_a_right: int
    only_b_right: int


class SeedTest(LuckTest):
    """`p` is null where seeds, or paired differences, are all equal; `more_seeds` of each, if that would settle it."""

    method: str
    n: tuple[int, int]
    more_seeds: int | None = None


T = TypeVar("T", bound=LuckTest)


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of a normal population; None for fewer than two values."""
    if len(values) < 2:
        return None
    half = float(special.stdtrit(len(values) - 1, 1 - ALPHA / 2)) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def image_test(right_a: Tensor, right_b: Tensor) -> ImageTest:
    """(N,) bool each. Of the images that one net alone gets right, are the two shares equal?"""
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return ImageTest(only_a_right=only_a, only_b_right=only_b, p=p, p_adjusted=p)


def seed_test(a: Mapping[Any, float], b: Mapping[Any, float], pairs: int = 1) -> SeedTest | None:
    """Accuracies by seed. Paired t-test where both ran the same seeds, else Welch's; None with a side below two seeds.

    `pairs`: how many are tested together; `more_seeds` counts with the strictest level that Holm may ask of this one.
    """
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
    p = None if error < NO_SPREAD else float(2 * special.stdtr(df, -abs(difference) / error))
    level = ALPHA / pairs
    more = None if p is None or p < level else seeds_to_settle(abs(difference), spread, min(n), paired, level)
    method = "paired t-test" if paired else "Welch's t-test"
    return SeedTest(method=method, n=n, p=p, p_adjusted=p, more_seeds=more)


def seeds_to_settle(difference: float, spread: float, n: int, paired: bool, level: float = ALPHA) -> int | None:
    """How many more of each would bring p under `level`, if difference and spread stayed as they are."""
    settles = difference > spread * critical(n, paired, level)
    return int(settles.argmax()) + 1 if settles.any() else None


@lru_cache(maxsize=64)
def critical(n: int, paired: bool, level: float) -> Any:
    """(MOST_SEEDS - 1,) the least difference that is settled with 1, 2, ... more than n seeds, in spreads."""
    seeds = n + np.arange(1, MOST_SEEDS)
    return special.stdtrit((seeds - 1.0) * (1 if paired else 2), 1 - level / 2) / np.sqrt(seeds)


def holm(values: Sequence[float]) -> list[float]:
    """p-values, each so adjusted that the chance of one false alarm among all stays what it is for one (Holm 1979)."""
    adjusted, highest = [1.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        highest = max(highest, (len(values) - rank) * values[place])
        adjusted[place] = min(1.0, highest)
    return adjusted


def adjusted(tests: Sequence[T | None]) -> list[T | None]:
    """The same tests, knowing of each other; those without p do not count."""
    values = {place: test.p for place, test in enumerate(tests) if test is not None and test.p is not None}
    corrected = dict(zip(values, holm(list(values.values())), strict=True))
    return [
        test.model_copy(update={"p_adjusted": corrected[place], "pairs": len(corrected)})
        if test is not None and place in corrected
        else test
        for place, test in enumerate(tests)
    ]


def show_p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
