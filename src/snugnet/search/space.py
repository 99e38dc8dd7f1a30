"""The space of a study: what each key of a recipe may be, and when."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from snugnet.config import Frozen
from snugnet.errors import RecipeError
from snugnet.problems import nearest

Number = int | float
Point = dict[str, Any]  # keys of a recipe and their values; keys whose condition does not hold are not in it
KEYS = ("choices", "from", "to", "step", "points", "log", "when")
MOST_POINTS = 100_000  # of a grid


class Dimension(Frozen):
    """One key's part of a study file: some choices, or numbers from ... to.

    Whole ends give whole numbers. `step` and `points` leave some of the numbers alone, evenly spaced; with `log` evenly
    in proportion. `when` names other keys of the space and the value, or a list of values, that they must have.
    """

    choices: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    start: Annotated[Number | None, Field(alias="from")] = None
    to: Number | None = None
    step: Annotated[Number, Field(gt=0)] | None = None
    points: Annotated[int, Field(ge=2)] | None = None
    log: bool = False
    when: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_choices_or_range(self) -> Self:
        if self.choices is not None:
            if given := sorted({"from" if name == "start" else name for name in self.model_fields_set & _OF_RANGES}):
                raise ValueError(f"has choices, and so no {', '.join(given)}; leave either out")
            if any(value in self.choices[:place] for place, value in enumerate(self.choices)):
                raise ValueError(f"each choice must differ from the others; got {list(self.choices)}")
            return self
        if self.start is None or self.to is None:
            raise ValueError("must be a list of choices, or have from and to; got neither")
        return self._checked(self.start, self.to)

    def _checked(self, start: Number, to: Number) -> Self:
        if not start < to:
            raise ValueError(f"from must be below to, or there is nothing to choose; got from {start:g} to {to:g}")
        if self.log and start <= 0:
            raise ValueError(f"from must be above 0 where log is true; got {start:g}")
        if self.step is not None and (self.log or self.points):
            raise ValueError("step goes neither with log nor with points; give points, which are spaced as log says")
        if self.step is not None and self.step > to - start:
            raise ValueError(f"step must be at most to - from, {to - start:g}; got {self.step:g}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it is of whole numbers."""
        return all(isinstance(value, int) for value in (self.start, self.to, self.step or 0))

    def values(self) -> Sequence[Any] | None:
        """All values in their order; None of a range of numbers without step and points."""
        if self.choices is not None:
            return self.choices
        assert self.start is not None, "checked when it was made"
        assert self.to is not None, "checked when it was made"
        if self.points:
            return self._spaced(self.start, self.to, self.points)
        if self.is_whole and self.step is None:
            return range(int(self.start), int(self.to) + 1)
        if self.step is None:
            return None
        steps = int((self.to - self.start) / self.step + 1e-9)
        numbers = [self.start + place * self.step for place in range(steps + 1)]
        return (
            numbers if self.is_whole else [float(f"{value:.12g}") for value in numbers]
        )  # 0.3, not 0.30000000000000004

    def _spaced(self, start: Number, to: Number, points: int) -> list[Number]:
        shares = [place / (points - 1) for place in range(points)]
        spaced = [start * (to / start) ** share if self.log else start + share * (to - start) for share in shares]
        if self.is_whole:
            return sorted({round(value) for value in spaced})
        return [float(f"{value:.12g}") for value in spaced]


_OF_RANGES = {"start", "to", "step", "points", "log"}


@dataclass(frozen=True)
class Axis:
    """A key of the recipe and what it may be. `values` None: any number of the range."""

    key: str
    dimension: Dimension
    values: Sequence[Any] | None
    when: Mapping[str, tuple[Any, ...]]

    @property
    def is_ordered(self) -> bool:
        return self.dimension.choices is None

    def is_active(self, point: Point) -> bool:
        return all(key in point and point[key] in allowed for key, allowed in self.when.items())

    def ends(self) -> tuple[Any, ...]:
        """Values that show whether the key takes such ones: all choices, both ends of a range."""
        if self.dimension.choices is not None:
            return self.dimension.choices
        return (self.dimension.start, self.dimension.to) if self.values is None else (self.values[0], self.values[-1])

    def drawn(self, draw: random.Random) -> Any:
        """Any of the values; on a range with log evenly in proportion."""
        low, high = self.dimension.start, self.dimension.to
        if (
            low is None
            or high is None
            or (self.values is not None and (self.dimension.points or not self.dimension.log))
        ):
            assert self.values is not None, "choices have values"
            return self.values[draw.randrange(len(self.values))]
        if self.values is not None:  # whole numbers, each as wide as it is in proportion
            return min(
                int(high), max(int(low), round(math.exp(draw.uniform(math.log(low - 0.5), math.log(high + 0.5)))))
            )
        return math.exp(draw.uniform(math.log(low), math.log(high))) if self.dimension.log else draw.uniform(low, high)


@dataclass(frozen=True)
class Space:
    """Axes, each behind those that its condition names."""

    axes: tuple[Axis, ...]

    def walk(self, choose: Callable[[Axis], Any]) -> Point:
        """A point: `choose` is asked for each axis whose condition holds."""
        point: Point = {}
        for axis in self.axes:
            if axis.is_active(point):
                point[axis.key] = choose(axis)
        return point

    def drawn(self, seed: int, number: int) -> Point:
        """The random point of that number: the same wherever and whenever it is asked for."""
        draw = random.Random(f"{seed} {number}")
        return self.walk(lambda axis: axis.drawn(draw))

    def grid(self) -> Iterator[Point]:
        """Every point, the last axis changing fastest. Raises RecipeError where an axis has no end of values."""
        self.check_grid()
        yield from self._below({}, 0)

    def check_grid(self) -> None:
        endless = [axis.key for axis in self.axes if axis.values is None]
        if endless:
            raise RecipeError(
                *(
                    f"space.{key}: a grid needs step or points, for every number from ... to is endless"
                    for key in endless
                )
            )

    def _below(self, point: Point, depth: int) -> Iterator[Point]:
        if depth == len(self.axes):
            yield dict(point)
            return
        axis = self.axes[depth]
        if not axis.is_active(point):
            yield from self._below(point, depth + 1)
            return
        for value in axis.values or ():
            yield from self._below({**point, axis.key: value}, depth + 1)


def build(dimensions: Mapping[str, Dimension], lengths: Callable[[str], int | None]) -> Space:
    """The space of a study file. `lengths` gives how many items the base's list of that path has, for `*`.

    Raises RecipeError, each problem with its key.
    """
    found: list[str] = []
    spread = {
        key: each for name, dimension in dimensions.items() for key, each in _spread(name, dimension, lengths, found)
    }
    axes = {key: Axis(key, each, each.values(), _allowed(each.when)) for key, each in spread.items()}
    for axis in axes.values():
        found += _impossible(axis, axes)
    if found:
        raise RecipeError(*found)
    return Space(tuple(_in_order(axes)))


def _spread(
    key: str, dimension: Dimension, lengths: Callable[[str], int | None], found: list[str]
) -> Iterator[tuple[str, Dimension]]:
    """ "model.stages.*.channels" as one key for each stage, each of its own; conditions follow their item."""
    before, star, behind = key.partition(".*")
    if not star:
        yield key, dimension
        return
    items = lengths(before)
    if not items:
        found.append(f"space.{key}: {before} must be a list in the base for * to stand for each of its items")
        return
    for place in range(items):
        when = {name.replace(f"{before}.*", f"{before}.{place}", 1): value for name, value in dimension.when.items()}
        own = dimension.model_copy(update={"when": when})
        yield from _spread(f"{before}.{place}{behind}", own, lengths, found)


def _allowed(when: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {key: tuple(value) if isinstance(value, (list, tuple)) else (value,) for key, value in when.items()}


def _impossible(axis: Axis, axes: Mapping[str, Axis]) -> Iterator[str]:
    """Conditions on keys that are not in the space, or on values that they never have."""
    for key, allowed in axis.when.items():
        where = f"space.{axis.key}.when"
        if key not in axes or key == axis.key:
            hint = nearest(key, axes.keys() - {axis.key})
            yield f"{where}: {key} is no other key of the space{hint}"
            continue
        values = axes[key].values
        if values is None:
            yield f"{where}: {key} is any number of a range; a condition needs choices, step or points"
        elif unknown := [value for value in allowed if value not in values]:
            shown = ", ".join(map(repr, list(values)[:8]))
            yield f"{where}: {key} is never {unknown[0]!r}; it is one of {shown}"


def _in_order(axes: Mapping[str, Axis]) -> Iterator[Axis]:
    """Each axis behind those that its condition names. Raises RecipeError where two wait for each other."""
    left = dict(axes)
    for _ in count():
        if not left:
            return
        free = [axis for axis in left.values() if not axis.when.keys() & left.keys()]
        if not free:
            names = ", ".join(left)
            raise RecipeError(f"space: the conditions of {names} wait for each other; take one of them away")
        for axis in free:
            yield left.pop(axis.key)
