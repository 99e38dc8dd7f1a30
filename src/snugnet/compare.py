"""Which recipe is better, and whether the runs at hand can tell.

Runs of one recipe that differ only in their seed form a group. A seed that ran twice counts once, by its mean accuracy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Protocol

import torch
from torch import Tensor

from snugnet.config import Frozen
from snugnet.errors import DataError, UsageError
from snugnet.evaluate.metrics import wilson
from snugnet.evaluate.significance import (
    ALPHA,
    NO_SPREAD,
    ImageTest,
    SeedTest,
    image_test,
    seed_test,
    show_p,
    t_interval,
)


class Record(Protocol):
    """What a run directory holds, as far as it is judged and reported."""

    @property
    def path(self) -> Path: ...
    @property
    def summary(self) -> dict[str, Any]: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def environment(self) -> dict[str, Any]: ...
    @property
    def metrics(self) -> list[dict[str, Any]]: ...
    def predictions(self, split: str) -> tuple[Tensor, Tensor]: ...


class RunRow(Frozen):
    path: str
    group: str
    recipe: str
    seed: int
    epochs: int
    weights: str
    accuracy: float
    accuracy_interval: tuple[float, float]  # over images
    params: int
    bytes: int
    macs: int
    seconds: float
    hardware: str


class Group(Frozen):
    """`std` is the sample's, `interval` the 95 % t-interval of the mean over seeds; both absent with one seed."""

    name: str
    recipe: str
    recipe_sha256: str
    seeds: tuple[int, ...]
    n: int
    mean: float
    std: float | None = None
    interval: tuple[float, float] | None = None
    params: int
    bytes: int
    macs: int


class PairTest(Frozen):
    """`difference` is b - a, as a fraction; `images` and `seeds` are absent where such a test is not possible."""

    a: str
    b: str
    nets: tuple[str, str]  # the two runs of the test over images
    same_data: bool
    difference: float
    images: ImageTest | None = None
    seeds: SeedTest | None = None
    verdict: str


class Comparison(Frozen):
    """`pareto` names the groups that no other beats: accuracy up, params, bytes and MACs down."""

    split: str
    runs: tuple[RunRow, ...]
    groups: tuple[Group, ...]
    pareto: tuple[str, ...]
    tests: tuple[PairTest, ...]


def compare(records: Sequence[Record]) -> Comparison:
    """Raises UsageError for runs that are unfinished or given twice, DataError for seeds on different data."""
    check_runs(records)
    split = common_split(records)
    members = {name: sorted(runs, key=seed_of) for name, runs in named_groups(records).items()}
    for runs in members.values():
        check_same_data(runs, split)
    groups = tuple(group(name, runs, split) for name, runs in members.items())
    return Comparison(
        split=split,
        runs=tuple(run_row(run, name, split) for name, runs in members.items() for run in runs),
        groups=groups,
        pareto=tuple(g.name for g in pareto(groups)),
        tests=tuple(pair_test(a, b, members, split) for a, b in combinations(groups, 2)),
    )


def check_runs(records: Sequence[Record]) -> None:
    if not records:
        raise UsageError("a comparison needs at least one run: name run directories, as in `snug compare runs/*`")
    seen: set[Path] = set()
    for record in records:
        check_finished(record)
        if (place := record.path.resolve()) in seen:
            raise UsageError(f"{record.path}: given twice: name each run once")
        seen.add(place)


def check_finished(record: Record) -> None:
    if not record.summary:
        raise UsageError(f"{record.path}: the run is not finished: finish it with `snug resume {record.path}`")


def common_split(records: Sequence[Record]) -> str:
    """The split all runs were scored on: test, else val."""
    for split in ("test", "val"):
        if all(record.summary[split] is not None for record in records):
            return split
    without = next(record.path for record in records if record.summary["test"] is None)
    raise UsageError(f"{without}: no score on test, and not all runs have one on val: leave it out")


def named_groups(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The cost is part of the key: a compressed run may carry its parent's recipe."""
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[tuple(record.summary[key] for key in ("recipe_sha256", "epochs", "params", "macs", "bytes"))].append(
            record
        )
    recipes = [runs[0].summary["recipe"] for runs in groups.values()]
    return {
        recipe if recipes.count(recipe) == 1 else f"{recipe} ({sha[:7]}, {epochs} epochs, {size:,} B)": runs
        for recipe, ((sha, epochs, _, _, size), runs) in zip(recipes, groups.items(), strict=True)
    }


def seed_of(record: Record) -> int:
    return int(record.summary["seed"])


def labels_of(record: Record, split: str) -> Tensor:
    return record.predictions(split)[1]


def right(record: Record, split: str) -> Tensor:
    logits, labels = record.predictions(split)
    return logits.argmax(1) == labels


def check_same_data(runs: Sequence[Record], split: str) -> None:
    for run in runs[1:]:
        if not torch.equal(labels_of(runs[0], split), labels_of(run, split)):
            pair = f"{runs[0].path} and {run.path}"
            raise DataError(f"{pair}: one recipe, but different {split} images: compare runs on the same data")


def accuracy_by_seed(runs: Sequence[Record], split: str) -> dict[int, float]:
    found: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        found[seed_of(run)].append(run.summary[split])
    return {seed: fmean(values) for seed, values in found.items()}


def run_row(run: Record, name: str, split: str) -> RunRow:
    summary, images = run.summary, len(labels_of(run, split))
    same = ("recipe", "seed", "epochs", "weights", "params", "bytes", "macs", "hardware")
    return RunRow(
        path=str(run.path),
        group=name,
        accuracy=summary[split],
        accuracy_interval=wilson(round(summary[split] * images), images),
        seconds=summary["seconds"],
        **{key: summary[key] for key in same},
    )


def group(name: str, runs: Sequence[Record], split: str) -> Group:
    accuracies = accuracy_by_seed(runs, split)
    values = list(accuracies.values())
    return Group(
        name=name,
        seeds=tuple(accuracies),
        n=len(values),
        mean=fmean(values),
        std=stdev(values) if len(values) > 1 else None,
        interval=t_interval(values),
        **{key: runs[0].summary[key] for key in ("recipe", "recipe_sha256", "params", "bytes", "macs")},
    )


def pareto(groups: Sequence[Group]) -> list[Group]:
    return [g for g in groups if not any(dominates(other, g) for other in groups)]


def dominates(a: Group, b: Group) -> bool:
    """At least as good in all, better in one."""
    pairs = [(a.mean, b.mean), (-a.params, -b.params), (-a.bytes, -b.bytes), (-a.macs, -b.macs)]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def pair_test(a: Group, b: Group, members: Mapping[str, Sequence[Record]], split: str) -> PairTest:
    runs_a, runs_b = members[a.name], members[b.name]
    same = torch.equal(labels_of(runs_a[0], split), labels_of(runs_b[0], split))
    nets = matched(runs_a, runs_b)
    images = image_test(*(right(run, split) for run in nets)) if same else None
    seeds = seed_test(accuracy_by_seed(runs_a, split), accuracy_by_seed(runs_b, split)) if same else None
    return PairTest(
        a=a.name,
        b=b.name,
        nets=(str(nets[0].path), str(nets[1].path)),
        same_data=same,
        difference=b.mean - a.mean,
        images=images,
        seeds=seeds,
        verdict=verdict(a, b, images, seeds, split),
    )


def matched(runs_a: Sequence[Record], runs_b: Sequence[Record]) -> tuple[Record, Record]:
    """The runs with the lowest seed that both recipes have, else the lowest of each."""
    common = {seed_of(run) for run in runs_a} & {seed_of(run) for run in runs_b}
    a, b = ([run for run in runs if seed_of(run) in common] or runs for runs in (runs_a, runs_b))
    return a[0], b[0]


def verdict(a: Group, b: Group, images: ImageTest | None, seeds: SeedTest | None, split: str) -> str:
    if images is None:
        return f"not compared: {a.name} and {b.name} were scored on different {split} images"
    return f"{over_seeds(a, b, seeds)}. On the same images: {over_images(a, b, images)}."


def over_seeds(a: Group, b: Group, test: SeedTest | None) -> str:
    points = 100 * abs(b.mean - a.mean)
    better, worse = (b.name, a.name) if b.mean > a.mean else (a.name, b.name)
    equal = f"{a.name} and {b.name} are equal"
    lead = f"{better} leads {worse} by {points:.2f} points" if points > NO_SPREAD else equal
    if test is None:
        return f"not settled: {lead}, with {a.n} and {b.n} seeds; train at least 2 of each"
    if test.p is None:
        return f"not settled: {lead}, but no seed differs from another; train more seeds"
    by = f"({test.method}, n = {test.n[0]} and {test.n[1]}, {show_p(test.p)})"
    if test.p < ALPHA:
        return f"{better} is better than {worse} by {points:.2f} points {by}"
    more = f"about {test.more_seeds} more of each" if test.more_seeds else "no practical number of seeds"
    return f"not settled: {lead} {by}; {more} would settle it"


def over_images(a: Group, b: Group, test: ImageTest) -> str:
    telling = "a difference" if test.p < ALPHA else "no clear difference"
    only = f"{test.only_a_right:,} right by {a.name} alone, {test.only_b_right:,} by {b.name} alone"
    return f"{only}: {telling} between these two nets (exact McNemar test, {show_p(test.p)})"
