"""Each pair of groups: tests over seeds and over images, and what follows from them, in words.

The 5 % level holds for all pairs together: p-values over seeds are adjusted by Holm, and those over images likewise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from snugnet.compare.groups import Group, Member, accuracy_by_seed
from snugnet.config import Frozen
from snugnet.evaluate.significance import NO_SPREAD, ImageTest, SeedTest, adjusted, image_test, seed_test

SENSIBLE = 20  # more seeds of each than this nobody trains to settle a difference


class PairTest(Frozen):
    """`difference` is b - a, as a fraction; `images` and `seeds` are null where such a test is not possible.

    `identical`: the same class for every image, in all seeds. Where one recipe ran a seed twice, a and b are two runs.
    """

    a: str
    b: str
    nets: tuple[str, str]  # the two runs of the test over images
    same_data: bool
    identical: bool
    difference: float
    images: ImageTest | None = None
    seeds: SeedTest | None = None
    verdict: str

    @property
    def is_settled(self) -> bool:
        """Whether there is a difference: over seeds, or over images where a side has one seed only."""
        test = self.images if self.seeds is None else self.seeds
        return test is not None and test.is_settled


@dataclass(frozen=True)
class Pair:
    a: Group
    b: Group
    runs: tuple[Sequence[Member], Sequence[Member]]

    @property
    def same_data(self) -> bool:
        return torch.equal(self.runs[0][0].labels, self.runs[1][0].labels)

    @property
    def nets(self) -> tuple[Member, Member]:
        """The runs with the lowest seed that both have, else the lowest of each."""
        common = {run.seed for run in self.runs[0]} & {run.seed for run in self.runs[1]}
        a, b = ([run for run in runs if run.seed in common] or runs for runs in self.runs)
        return a[0], b[0]

    @property
    def is_identical(self) -> bool:
        """Whether both have the same seeds, or one each, and predict the same in all of them."""
        if len(self.runs[0]) != len(self.runs[1]) or not self.same_data:
            return False
        seeds = [[run.seed for run in runs] for runs in self.runs]
        alike = seeds[0] == seeds[1] or len(seeds[0]) == 1
        return alike and all(torch.equal(x.predicted, y.predicted) for x, y in zip(*self.runs, strict=True))


def pair_tests(groups: Sequence[Group], members: Mapping[str, Sequence[Member]]) -> tuple[PairTest, ...]:
    """Runs of one seed first, then all pairs of groups."""
    again = tuple(repeated(first, other) for runs in members.values() for first, other in repeats(runs))
    pairs = [Pair(a, b, (members[a.name], members[b.name])) for a, b in combinations(groups, 2)]
    held = [pair for pair in pairs if pair.same_data and min(pair.a.n, pair.b.n) > 1]
    by_seeds = adjusted([over_seeds(pair, len(held)) for pair in pairs])
    by_images = adjusted([over_images(pair) for pair in pairs])
    return again + tuple(map(judged, pairs, by_seeds, by_images))


def over_seeds(pair: Pair, pairs: int) -> SeedTest | None:
    if not pair.same_data:
        return None
    a, b = (accuracy_by_seed(runs) for runs in pair.runs)
    return seed_test(a, b, max(1, pairs))


def over_images(pair: Pair) -> ImageTest | None:
    return image_test(*(net.right for net in pair.nets)) if pair.same_data else None


def judged(pair: Pair, seeds: SeedTest | None, images: ImageTest | None) -> PairTest:
    if seeds is not None and seeds.is_settled:
        seeds = seeds.model_copy(update={"more_seeds": None})
    return PairTest(
        a=pair.a.name,
        b=pair.b.name,
        nets=(str(pair.nets[0].record.path), str(pair.nets[1].record.path)),
        same_data=pair.same_data,
        identical=pair.is_identical,
        difference=pair.b.mean - pair.a.mean,
        images=images,
        seeds=seeds,
        verdict=verdict(pair, seeds, images),
    )


def repeats(runs: Sequence[Member]) -> list[tuple[Member, Member]]:
    """The first run of each seed with every other one of it."""
    first: dict[int | None, Member] = {}
    return [(first[run.seed], run) for run in runs if first.setdefault(run.seed, run) is not run]


def repeated(first: Member, other: Member) -> PairTest:
    """Two runs of one recipe and seed: they count once, and ought to predict the same."""
    a, b = str(first.record.path), str(other.record.path)
    images = image_test(first.right, other.right)
    identical = torch.equal(first.predicted, other.predicted)
    seed = "" if first.seed is None else f", one recipe and seed {first.seed}"
    words = f"not the same: {a} and {b}{seed}: {image_words(a, b, images)}"
    return PairTest(
        a=a,
        b=b,
        nets=(a, b),
        same_data=True,
        identical=identical,
        difference=other.accuracy - first.accuracy,
        images=images,
        verdict=f"no difference: {a} and {b} {same_class(first)}" if identical else words,
    )


def verdict(pair: Pair, seeds: SeedTest | None, images: ImageTest | None) -> str:
    a, b = pair.a, pair.b
    if images is None:
        return f"not compared: {a.name} and {b.name} were scored on different {pair.nets[0].split} images"
    if pair.is_identical:
        each = f", in each of {a.n} seeds" if a.n > 1 else ""
        return f"no difference: {a.name} and {b.name} {same_class(pair.nets[0])}{each}"
    x, y = pair.nets
    if torch.equal(x.predicted, y.predicted):
        nets = f"{x.record.path} and {y.record.path} {same_class(x)}: no difference between these two nets"
        return f"{seed_words(a, b, seeds)}. On the same images: {nets}."
    return f"{seed_words(a, b, seeds)}. {whose(pair)}: {image_words(a.name, b.name, images)}."


def whose(pair: Pair) -> str:
    """Of several seeds one each is held beside the other, which says nothing of the means."""
    if max(pair.a.n, pair.b.n) == 1:
        return "On the same images"
    x, y = (net.seed for net in pair.nets)
    of = f"The nets of seed {x}" if x == y else f"The nets of {one_of(pair.a, x)} and {one_of(pair.b, y)}"
    return f"{of}, on the same images"


def one_of(group: Group, seed: int | None) -> str:
    return group.name if seed is None else f"seed {seed} of {group.name}"


def same_class(run: Member) -> str:
    return f"predict the same class for all {len(run.labels):,} {run.split} images"


def seed_words(a: Group, b: Group, test: SeedTest | None) -> str:
    points = 100 * abs(b.mean - a.mean)
    better, worse = (b.name, a.name) if b.mean > a.mean else (a.name, b.name)
    equal = f"{a.name} and {b.name} are equal"
    lead = f"{better} leads {worse} by {points:.2f} points" if points > NO_SPREAD else equal
    if test is None:
        return f"not settled: {lead}, with {a.n} and {b.n} seeds; train at least 2 of each"
    if test.p is None:
        return f"not settled: {lead}, but the seeds leave no spread to test it by; train more of them"
    by = f"({test.method}, n = {test.n[0]} and {test.n[1]}, {test.words})"
    if test.is_settled:
        return f"{better} is better than {worse} by {points:.2f} points {by}"
    if test.more_seeds is None or test.more_seeds > SENSIBLE:
        return f"not settled: {lead} {by}; too small a difference to settle with a sensible number of seeds"
    return f"not settled: {lead} {by}; about {test.more_seeds} more of each would settle it"


def image_words(a: str, b: str, test: ImageTest) -> str:
    telling = "a difference" if test.is_settled else "no clear difference"
    only = f"{test.only_a_right:,} right by {a} alone, {test.only_b_right:,} by {b} alone"
    return f"{only}: {telling} between these two nets (exact McNemar test, {test.words})"
