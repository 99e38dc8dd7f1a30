"""Runs of one recipe that differ only in their seed form a group. A seed that ran twice counts once, by its mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any, Literal

import torch
from torch import Tensor

from snugnet.changes import differences, told
from snugnet.compare.curves import Curve, Reached, curve, first_to_reach
from snugnet.compare.records import Record, bench_of
from snugnet.config import Frozen
from snugnet.errors import DataError
from snugnet.evaluate.metrics import wilson
from snugnet.evaluate.significance import t_interval

MOST_SETTINGS = 3  # that a group is named by
Seed = int | None  # a shipped file does not know its seed


@dataclass(frozen=True)
class Member:
    """A run of a group, its predictions read once."""

    record: Record
    split: str
    labels: Tensor  # int64 (N,)
    predicted: Tensor  # int64 (N,)
    curve: Curve

    @property
    def seed(self) -> Seed:
        seed: Seed = self.record.summary["seed"]
        return seed

    @property
    def accuracy(self) -> float:
        return float(self.record.summary[self.split])

    @property
    def right(self) -> Tensor:
        return self.predicted == self.labels


class RunRow(Frozen):
    """A run, or a shipped file: of that is known neither recipe nor training."""

    path: str
    group: str
    kind: Literal["run", "file"]
    recipe: str | None = None
    seed: int | None = None
    epochs: int | None = None
    weights: str | None = None
    accuracy: float
    accuracy_interval: tuple[float, float]  # over images
    val: float | None = None
    params: int
    bytes: int
    macs: int
    p50_ms: float | None = None
    fastest_ms: float | None = None  # the fastest inference of its timing
    disturbed: bool = False  # whether other work ran beside it
    seconds: float | None = None
    training_flops: float | None = None
    hardware: str | None = None
    reached: tuple[Reached, ...] = ()


class GroupReached(Frozen):
    """The means over seeds; null unless every seed reached it, since a mean of the lucky ones would flatter."""

    target: float
    reached: int  # seeds that did
    n: int
    epochs: float | None = None
    seconds: float | None = None


class Group(Frozen):
    """`std` is the sample's, `interval` the 95 % t-interval of the mean over seeds; both null with one seed."""

    name: str
    kind: Literal["run", "file"]
    recipe: str | None = None
    recipe_sha256: str | None = None
    seeds: tuple[int, ...]
    n: int
    mean: float
    std: float | None = None
    interval: tuple[float, float] | None = None
    params: int
    bytes: int
    macs: int
    size_mb: float | None = None
    peak_activation_bytes: int | None = None
    p50_ms: float | None = None  # median of the runs that were timed
    timed: str | None = None  # where and how
    disturbed: bool = False  # whether other work ran beside a timing
    seconds: float | None = None
    training_flops: float | None = None
    reached: tuple[GroupReached, ...] = ()


def member(record: Record, split: str) -> Member:
    logits, labels = record.predictions(split)
    return Member(record, split, labels, logits.argmax(1), curve(record))


def named_groups(members: Sequence[Member]) -> dict[str, list[Member]]:
    """By name, each sorted by seed. The cost is part of the key: a compressed run may carry its parent's recipe.

    Raises DataError for seeds that were scored on different images.
    """
    groups: dict[tuple[Any, ...], list[Member]] = defaultdict(list)
    for each in members:
        summary = each.record.summary
        key = tuple(summary[name] for name in ("recipe_sha256", "params", "macs", "bytes"))
        groups[key if summary["recipe_sha256"] else (*key, summary["recipe"])].append(each)
    of_recipe: dict[str, list[list[Member]]] = defaultdict(list)
    for runs in groups.values():
        of_recipe[runs[0].record.summary["recipe"]].append(runs)
    names = {
        id(runs): name for recipe, own in of_recipe.items() for name, runs in zip(labels(recipe, own), own, strict=True)
    }
    named = {names[id(runs)]: runs for runs in groups.values()}
    for runs in named.values():
        check_same_data(runs)
    return {name: sorted(runs, key=lambda each: each.seed or 0) for name, runs in named.items()}


def labels(recipe: str, groups: Sequence[Sequence[Member]]) -> list[str]:
    """What groups of one recipe are called: by what their configurations differ in; where that is much, or not short,
    by their bytes; else by where the first run lies."""
    if len(groups) == 1:
        return [recipe]
    records = [runs[0].record for runs in groups]
    configs = [record.config for record in records]
    paths = list(dict.fromkeys(path for config in configs for path in differences(configs[0], config)))
    settings = [", ".join(told(path, config) for path in paths) for config in configs]
    sizes = [f"{record.summary['bytes']:,} B" for record in records]
    words = [settings] * (len(paths) <= MOST_SETTINGS) + [sizes, [str(record.path) for record in records]]
    apart = next(each for each in words if len(set(each)) == len(each))
    return [f"{recipe} ({each})" for each in apart]


def check_same_data(runs: Sequence[Member]) -> None:
    for run in runs[1:]:
        if not torch.equal(runs[0].labels, run.labels):
            pair = f"{runs[0].record.path} and {run.record.path}"
            raise DataError(f"{pair}: one recipe, but different {run.split} images: compare runs on the same data")


def by_seed(values: Iterable[tuple[Seed, float]]) -> dict[Seed, float]:
    found: dict[Seed, list[float]] = defaultdict(list)
    for seed, value in values:
        found[seed].append(value)
    return {seed: fmean(own) for seed, own in found.items()}


def accuracy_by_seed(runs: Sequence[Member]) -> dict[Seed, float]:
    return by_seed((run.seed, run.accuracy) for run in runs)


def is_file(run: Member) -> bool:
    return run.record.summary["recipe_sha256"] is None


def run_row(run: Member, name: str) -> RunRow:
    summary, images = run.record.summary, len(run.labels)
    same = ("seed", "epochs", "weights", "val", "params", "bytes", "macs", "seconds", "hardware")
    return RunRow(
        path=str(run.record.path),
        group=name,
        kind="file" if is_file(run) else "run",
        recipe=None if is_file(run) else summary["recipe"],
        accuracy=run.accuracy,
        accuracy_interval=wilson(round(run.accuracy * images), images),
        p50_ms=p50_ms(run),
        fastest_ms=min(run.record.bench.get("ways_ms", {}).values(), default=None),
        disturbed=run.record.bench.get("disturbed", False),
        training_flops=run.curve.total_flops,
        reached=first_to_reach(run.curve) if run.curve.is_judged else (),
        **{key: summary[key] for key in same},
    )


def group(name: str, runs: Sequence[Member]) -> Group:
    accuracies = accuracy_by_seed(runs)
    values, first = list(accuracies.values()), runs[0].record.summary
    timings = [p50_ms(run) for run in runs]
    return Group(
        name=name,
        kind="file" if is_file(runs[0]) else "run",
        recipe=None if is_file(runs[0]) else first["recipe"],
        seeds=tuple(seed for seed in accuracies if seed is not None),
        n=len(values),
        mean=fmean(values),
        std=stdev(values) if len(values) > 1 else None,
        interval=clipped(t_interval(values)),
        p50_ms=median(known) if (known := [each for each in timings if each is not None]) else None,
        timed="; ".join(dict.fromkeys(filter(None, map(timed, runs)))) or None,
        disturbed=any(run.record.bench.get("disturbed", False) for run in runs),
        seconds=mean_or_none((run.seed, run.record.summary["seconds"]) for run in runs),
        training_flops=mean_or_none((run.seed, run.curve.total_flops) for run in runs),
        reached=group_reached(runs),
        size_mb=first.get("size_mb"),  # older runs keep neither
        peak_activation_bytes=first.get("peak_activation_bytes"),
        **{key: first[key] for key in ("recipe_sha256", "params", "bytes", "macs")},
    )


def clipped(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """An accuracy is neither below 0 nor above 1, though a normal population of them may be."""
    return interval and (max(0.0, interval[0]), min(1.0, interval[1]))


def mean_or_none(values: Iterable[tuple[Seed, float | None]]) -> float | None:
    """The mean over seeds; None where one of them is not known."""
    known = list(values)
    found = by_seed((seed, value) for seed, value in known if value is not None)
    return fmean(found.values()) if found and all(value is not None for _, value in known) else None


def group_reached(runs: Sequence[Member]) -> tuple[GroupReached, ...]:
    if not all(run.curve.is_judged for run in runs):
        return ()
    found = []
    for rows in zip(*(first_to_reach(run.curve) for run in runs), strict=True):
        own = [(run.seed, row) for run, row in zip(runs, rows, strict=True)]
        found.append(
            GroupReached(
                target=rows[0].target,
                reached=len({seed for seed, row in own if row.epochs is not None}),
                n=len({seed for seed, _ in own}),
                epochs=mean_or_none((seed, row.epochs) for seed, row in own),
                seconds=mean_or_none((seed, row.seconds) for seed, row in own),
            )
        )
    return tuple(found)


def p50_ms(run: Member) -> float | None:
    bench = bench_of(run.record)
    return float(bench["p50_ms"]) if bench else None


def timed(run: Member) -> str | None:
    return protocol(run.record)


def protocol(record: Record) -> str | None:
    """How a run was timed: what must agree for two latencies to be compared. None where it was not."""
    bench = bench_of(record)
    if not bench:
        return None
    threads = f"{bench['threads']} thread{'s' if bench['threads'] != 1 else ''}"
    where = (
        f"{threads} on {bench['hardware']}" if bench["device"] == "cpu" else f"{bench['device']}, {bench['hardware']}"
    )
    return f"batch {bench['batch']}, {where}, {bench['backend']} {str(bench['version']).partition('+')[0]}"


def front_measures(groups: Sequence[Group]) -> tuple[str, ...]:
    """What the front is taken over, accuracy aside: latency too where all were timed in the same way."""
    ways = {each.timed for each in groups}
    return ("params", "bytes", "macs", *(["p50_ms"] if len(ways) == 1 and None not in ways else []))


def pareto(groups: Sequence[Group], measures: Sequence[str] = ("params", "bytes", "macs")) -> list[Group]:
    return [g for g in groups if not any(dominates(other, g, measures) for other in groups)]


def dominates(a: Group, b: Group, measures: Sequence[str]) -> bool:
    """At least as good in all, better in one."""
    pairs = [(a.mean, b.mean), *((-getattr(a, name), -getattr(b, name)) for name in measures)]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def run_rows(members: Mapping[str, Sequence[Member]]) -> tuple[RunRow, ...]:
    return tuple(run_row(run, name) for name, runs in members.items() for run in runs)
