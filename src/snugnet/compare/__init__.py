"""Which recipe is better, and whether the runs at hand can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snugnet.compare.choosing import Choice, Requirement, choose
from snugnet.compare.curves import TARGETS, AtEqualFlops, Curve, at_flops, common_flops
from snugnet.compare.groups import (
    Group,
    Member,
    RunRow,
    front_measures,
    group,
    mean_or_none,
    member,
    named_groups,
    pareto,
    run_rows,
)
from snugnet.compare.pairs import PairTest, pair_tests
from snugnet.compare.records import Record, check_finished, check_runs, check_split, common_split, open_records
from snugnet.config import Frozen

__all__ = [
    "Choice",
    "Comparison",
    "Group",
    "Record",
    "RunRow",
    "check_finished",
    "choosing_among",
    "compare",
    "open_records",
]


class EqualFlops(Frozen):
    """Val accuracy at the largest training FLOPs that all runs reached. `notes`: what is approximate."""

    flops: float
    runs: tuple[AtEqualFlops, ...]
    means: dict[str, float | None]  # by group, over seeds; null where a seed's first epoch is beyond the FLOPs
    notes: tuple[str, ...]
    without: tuple[str, ...]  # runs that were never judged on val, or are shipped files


class Comparison(Frozen):
    """`pareto` names the groups that no other beats: accuracy up, `front` (params, bytes, MACs, latency) down."""

    split: str
    runs: tuple[RunRow, ...]
    groups: tuple[Group, ...]
    front: tuple[str, ...]
    pareto: tuple[str, ...]
    tests: tuple[PairTest, ...]
    targets: tuple[float, ...] = TARGETS
    curves: tuple[Curve, ...] = ()
    equal_flops: EqualFlops | None = None
    choice: Choice | None = None
    picked: str | None = None

    def plain(self, **options: Any) -> dict[str, Any]:
        """As `Frozen.plain`, but what is not known stands there as null."""
        return self.model_dump(mode="json", **options)


def compare(records: Sequence[Record], split: str | None = None) -> Comparison:
    """Raises UsageError for runs that are unfinished or not scored on the split, DataError for seeds on other data."""
    check_runs(records)
    if split is not None:
        check_split(records, split)
    on = split or common_split(records)
    members = named_groups([member(record, on) for record in records])
    groups = tuple(group(name, runs) for name, runs in members.items())
    front = front_measures(groups)
    return Comparison(
        split=on,
        runs=run_rows(members),
        groups=groups,
        front=front,
        pareto=tuple(g.name for g in pareto(groups, front)),
        tests=pair_tests(groups, members),
        curves=tuple(run.curve for runs in members.values() for run in runs if run.curve.epoch),
        equal_flops=equal_flops([(name, run) for name, runs in members.items() for run in runs]),
    )


def equal_flops(named: Sequence[tuple[str, Member]]) -> EqualFlops | None:
    """None where no run was judged on val."""
    judged = [(name, run) for name, run in named if run.curve.is_judged]
    flops = common_flops([run.curve for _, run in judged])
    if flops is None:
        return None
    found = [(name, run.seed, at_flops(run.curve, flops)) for name, run in judged]
    names = dict.fromkeys(name for name, _, _ in found)
    return EqualFlops(
        flops=flops,
        runs=tuple(row for _, _, row in found),
        means={n: mean_or_none((seed, row.val_accuracy) for name, seed, row in found if name == n) for n in names},
        notes=tuple(dict.fromkeys(note for _, run in judged for note in run.curve.notes)),
        without=tuple(str(run.record.path) for _, run in named if not run.curve.is_judged),
    )


def choosing_among(comparison: Comparison, required: Sequence[Requirement], *, pick: bool) -> Comparison:
    """The comparison, knowing what is required and, with `pick`, what to ship. Raises UsageError."""
    facts = comparison.groups, comparison.runs, comparison.tests
    choice, picked = choose(*facts, required, pick=pick, split=comparison.split)
    return comparison.model_copy(update={"choice": choice, "picked": picked})
