"""Requirements on what ships, and which of the groups that meet them it should be."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from snugnet import units
from snugnet.compare.groups import Group, RunRow
from snugnet.compare.pairs import PairTest
from snugnet.config import Frozen
from snugnet.errors import UsageError
from snugnet.evaluate.significance import show_p
from snugnet.problems import nearest
from snugnet.units import show_percent

Operator = Literal["<=", ">=", "<", ">"]
HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
COSTS = ("params", "bytes", "macs", "p50_ms")
CHOSEN_ON_TEST = (
    "chosen on test, so its accuracy is a little too good; --split val chooses on val and keeps test to report"
)
ROUNDED = 1e-12  # what adding fractions leaves behind: a mean of 0.9 is 0.9
_FORM = re.compile(r"\s*([A-Za-z0-9_]*)\s*(<=|>=|<|>|=+)\s*(.*?)\s*")


@dataclass(frozen=True)
class Measure:
    """What may be required: its units, how a value of it is shown, and where it stands in a group."""

    units: Mapping[str, float]
    what: str
    show: Callable[[float], str]
    field: str = ""


MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure(
        {"": 1, "%": 0.01}, "an accuracy", lambda value: f"{100 * value:.4f}".rstrip("0").rstrip(".") + " %", "mean"
    ),
    "params": Measure(units.COUNT, "a count", "{:,.0f}".format),
    "macs": Measure(units.COUNT, "a count", "{:,.0f}".format),
    "bytes": Measure(units.BYTES, "a size", "{:,.0f} B".format),
    "size_mb": Measure({"": 1}, "a size in tu24's MB", "{:.6f} MB".format),
    "peak_activation_bytes": Measure(units.BYTES, "a size", "{:,.0f} B".format),
    "p50_ms": Measure({"": 1, "ms": 1, "us": 1e-3, "s": 1e3}, "a latency in ms", "{:.4g} ms".format),
    "seconds": Measure(units.SECONDS, "a duration", "{:,.1f} s".format),
}


class Requirement(Frozen):
    """`text` as it was given, without spaces."""

    measure: str
    operator: Operator
    limit: float
    text: str

    def holds(self, value: float) -> bool:
        equal = abs(value - self.limit) <= ROUNDED * max(1.0, abs(self.limit))
        return self.operator in ("<=", ">=") if equal else HOLDS[self.operator](value, self.limit)


class Miss(Frozen):
    """A group that does not meet a requirement. `by`: how far it is off, `share` of the limit; `doubt`: why to measure
    it again first."""

    group: str
    requirement: str
    measured: float
    by: float
    share: float
    words: str
    doubt: str | None = None

    @property
    def told(self) -> str:
        return self.words + (f" ({self.doubt})" if self.doubt else "")


class Choice(Frozen):
    """`fitting` groups meet all `requirements`. `run` is the seed of the picked one to ship, chosen on val.

    `cheaper`: fitting groups that cost less than it, more in nothing, and whose accuracy is not known to be lower.
    `notes`: by which accuracies it was chosen.
    """

    requirements: tuple[Requirement, ...]
    fitting: tuple[str, ...]
    misses: tuple[Miss, ...]
    cheaper: tuple[str, ...] = ()
    run: str | None = None
    file: str | None = None
    words: str = ""
    notes: tuple[str, ...] = ()


def parse_requirements(text: str) -> tuple[Requirement, ...]:
    """As given: "p50_ms<1, bytes<550kB, accuracy>=0.9". A comma before a digit groups thousands. Raises UsageError."""
    return tuple(parse_requirement(part) for part in re.split(r",(?!\d)", text))


def parse_requirement(text: str) -> Requirement:
    found = _FORM.fullmatch(text)
    if found is None or found[2] not in HOLDS or not found[1]:
        raise UsageError(f"--require {text.strip()!r}: must be MEASURE<VALUE, with <, <=, > or >=, as in bytes<550kB")
    name, sign, value = found[1], found[2], found[3]
    if name not in MEASURES:
        hint = nearest(name, MEASURES) or f"; known are {', '.join(MEASURES)}"
        raise UsageError(f"--require {text.strip()!r}: {name!r} is no measure{hint}")
    try:
        limit = units.parse(value, MEASURES[name].units, MEASURES[name].what)
    except ValueError as error:
        raise UsageError(f"--require {text.strip()!r}: {error}") from error
    if name == "accuracy" and limit > 1:
        raise UsageError(f"--require {text.strip()!r}: an accuracy is at most 1; for percent give {name}{sign}{value}%")
    return Requirement.parse({"measure": name, "operator": sign, "limit": limit, "text": f"{name}{sign}{value}"})


def value_of(group: Group, name: str) -> float | None:
    value: float | None = getattr(group, MEASURES[name].field or name)
    return value


def check_known(groups: Sequence[Group], name: str, runs: Sequence[RunRow]) -> None:
    """Raises UsageError where groups do not have a measure; it names all that can be timed at once."""
    lacking = [group for group in groups if value_of(group, name) is None]
    if not lacking:
        return
    if files := [group for group in lacking if group.kind == "file"]:
        lacking, known = files, "a shipped file does not say it; give the run it came from"
    elif name == "p50_ms":
        own = [next(run.path for run in runs if run.group == group.name) for group in lacking]
        known = f"time {'it' if len(own) == 1 else 'them'} first with `snug bench {' '.join(own)}`"
    else:
        known = "its runs are of an older version and do not say it; leave the requirement out"
    raise UsageError(f"{', '.join(group.name for group in lacking)}: {name} is not known: {known}")


def doubt(group: Group, name: str, runs: Sequence[RunRow]) -> str | None:
    """What makes a latency too long, and how to measure it again."""
    beside = [run for run in runs if run.group == group.name and run.disturbed]
    if name != "p50_ms" or not beside:
        return None
    fastest = [run.fastest_ms for run in beside if run.fastest_ms is not None]
    took = f"; its fastest inference took {MEASURES[name].show(min(fastest))}" if fastest else ""
    return f"timed while other work ran{took}: repeat `snug bench {' '.join(run.path for run in beside)}`"


def miss(group: Group, requirement: Requirement, value: float, doubt: str | None = None) -> Miss:
    by, measure = abs(value - requirement.limit), MEASURES[requirement.measure]
    above = requirement.operator in ("<=", "<")
    side, must = ("over", "below") if above else ("under", "above")
    exactly = f"which must be {must} {measure.show(requirement.limit)}"
    off = f"{measure.show(by)} {side} {measure.show(requirement.limit)}"
    if requirement.measure == "accuracy":
        off = f"{100 * by:.3g} points {side} {measure.show(requirement.limit)}"
    is_equal = by <= ROUNDED * max(1.0, abs(requirement.limit))
    return Miss(
        group=group.name,
        requirement=requirement.text,
        measured=value,
        by=by,
        share=by / requirement.limit if requirement.limit else by,
        words=f"{requirement.measure} is {measure.show(value)}, {exactly if is_equal else off}",
        doubt=doubt,
    )


def misses(groups: Sequence[Group], required: Sequence[Requirement], runs: Sequence[RunRow]) -> tuple[Miss, ...]:
    for each in required:
        check_known(groups, each.measure, runs)
    values = [(group, each, value_of(group, each.measure)) for group in groups for each in required]
    return tuple(
        miss(group, each, value, doubt(group, each.measure, runs))
        for group, each, value in values
        if value is not None and not each.holds(value)
    )


def nearest_miss(found: Sequence[Miss]) -> list[Miss]:
    """All that the group lacks whose worst shortfall is the smallest in proportion to its limit."""
    worst: dict[str, float] = {}
    for each in found:
        worst[each.group] = max(worst.get(each.group, 0.0), each.share)
    name = min(worst, key=lambda name: worst[name])
    return [each for each in found if each.group == name]


def choose(
    groups: Sequence[Group],
    runs: Sequence[RunRow],
    tests: Sequence[PairTest],
    required: Sequence[Requirement],
    *,
    pick: bool,
    split: str = "test",
) -> tuple[Choice, str | None]:
    """Which groups meet all that is required, and the name of the one to ship. Raises UsageError."""
    found = misses(groups, required, runs)
    failing = {each.group for each in found}
    fitting = [group for group in groups if group.name not in failing]
    choice = Choice(requirements=tuple(required), fitting=tuple(g.name for g in fitting), misses=found)
    if not pick or not fitting:
        return choice, None
    check_same_images(fitting, tests)
    best = min(fitting, key=lambda group: (-group.mean, group.bytes, group.params, group.macs))
    cheaper = [other for other in fitting if costs_less(other, best) and not is_worse(other, best, tests)]
    words = why(best, fitting, tests, fit=bool(required))
    if best.n == 1 and any(group.n > 1 for group in fitting):
        words += "; it is one net, and another seed of it may be worse"
    if cheaper:
        words += "; " + ", ".join(f"{each.name} costs less ({saving(each, best)})" for each in cheaper)
    run, by = to_ship(best, runs)
    file = run if best.kind == "file" else f"{run}/model.safetensors"
    notes = tuple(filter(None, (by, CHOSEN_ON_TEST if split == "test" and len(fitting) > 1 else "")))
    update = {"cheaper": tuple(g.name for g in cheaper), "words": words, "run": run, "file": file, "notes": notes}
    return choice.model_copy(update=update), best.name


def why(best: Group, fitting: Sequence[Group], tests: Sequence[PairTest], *, fit: bool) -> str:
    """The most accurate, or, where others may be as good, the one with the highest mean."""
    what = "that fit" if fit else "there are"
    if len(fitting) == 1:
        return f"{best.name}: the only one that {'fits' if fit else 'there is'}"
    others = [group for group in fitting if group is not best]
    rivals = [group for group in others if not is_worse(group, best, tests)]
    if not rivals:
        return f"{best.name}: the most accurate of {len(fitting)} {what}"
    named = ", ".join(f"{each.name} ({beside(each, best, tests)})" for each in rivals)
    words = f"{best.name}: the highest mean ({show_percent(best.mean)}) of {len(fitting)} {what}"
    words += f", but not told apart from {named}"
    if all(costs_less(best, each) for each in rivals):
        words += f"; it also costs less than {'that' if len(rivals) == 1 else 'those'}"
    return words


def beside(other: Group, best: Group, tests: Sequence[PairTest]) -> str:
    """The mean of another, and the p-value of what keeps it apart, where there is a test."""
    found = next((test for test in tests if {test.a, test.b} == {other.name, best.name}), None)
    luck = None if found is None else found.seeds or found.images
    p = None if luck is None else luck.p_adjusted
    return show_percent(other.mean) + ("" if p is None else f", {show_p(p)}")


def to_ship(group: Group, runs: Sequence[RunRow]) -> tuple[str, str]:
    """The run of a group with the best val accuracy, the first where that is not known of all; and this in words."""
    own = [run for run in runs if run.group == group.name]
    judged = [run.val for run in own if run.val is not None]
    if len(own) == 1:
        return own[0].path, ""
    if len(judged) < len(own):
        return own[0].path, f"the first of its {len(own)} runs: not all were judged on val"
    best = max(judged)
    return own[
        judged.index(best)
    ].path, f"of its {len(own)} runs the one with the best val accuracy, {show_percent(best)}"


def nothing_fits(choice: Choice, groups: int) -> str:
    """What to say where no group meets all: the nearest one, and what it lacks."""
    near = nearest_miss(choice.misses)
    lacks = "; ".join(each.told for each in near)
    again = "time it again on a quiet machine before you " if any(each.doubt for each in near) else ""
    wanted = ", ".join(each.text for each in choice.requirements)
    return (
        f"--require {wanted}: none of {groups} meets all; the nearest is {near[0].group}: {lacks}; "
        f"{again}ask for less, or design a net to it with `snug design`"
    )


def check_same_images(groups: Sequence[Group], tests: Sequence[PairTest]) -> None:
    names = {group.name for group in groups}
    for test in tests:
        if not test.same_data and {test.a, test.b} <= names:
            raise UsageError(
                f"--pick: {test.a} and {test.b} were scored on different images: compare runs on the same data"
            )


def costs(a: Group, b: Group) -> list[tuple[str, float, float]]:
    """The costs that are known of both."""
    both = [(name, getattr(a, name), getattr(b, name)) for name in COSTS]
    return [
        each
        for each in both
        if each[1] is not None and each[2] is not None and (each[0] != "p50_ms" or a.timed == b.timed)
    ]


def costs_less(a: Group, b: Group) -> bool:
    """No more in any cost, less in one."""
    pairs = costs(a, b)
    return all(x <= y for _, x, y in pairs) and any(x < y for _, x, y in pairs)


def saving(a: Group, b: Group) -> str:
    parts = [f"{name} -{100 * (1 - x / y):.1f} %" for name, x, y in costs(a, b) if x < y]
    return ", ".join(parts)


def is_worse(other: Group, best: Group, tests: Sequence[PairTest]) -> bool:
    """Whether the test between the two says that there is a difference; `best` has the higher mean."""
    return any(test.is_settled for test in tests if {test.a, test.b} == {other.name, best.name})
