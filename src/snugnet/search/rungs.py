"""Which trials train on: asynchronous successive halving over epochs, for one objective or for several.

A trial trains to the epochs of the first rung and waits. Of all that finished a rung, the best share `keep` goes on to
the next one; the rest stay where they are and cost no more. Nothing waits for a rung to fill (ASHA, Li et al. 2020,
arXiv 1810.05934): whoever is among the best of those that are there goes on at once.

With several objectives "best" is a whole front. Trials are ranked by non-dominated fronts (NSGA-II, Deb et al. 2002),
and those of one front by how much room they have to their neighbours in it, the ends of the front first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Rungs:
    """`epochs` of each rung, rising; of those that finished one the share `keep` goes on. Raises ValueError.

    It remembers nothing, so that workers on several machines agree on what the study's storage tells them.
    """

    epochs: tuple[int, ...]
    keep: float

    def __post_init__(self) -> None:
        rising = all(before < after for before, after in zip((0, *self.epochs), self.epochs, strict=False))
        if not self.epochs or not rising:
            raise ValueError(f"the epochs of the rungs must be above 0 and rise; got {list(self.epochs)}")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep must be above 0 and below 1, the share that goes on; got {self.keep:g}")

    def rung_ready(
        self,
        results: Mapping[int, Sequence[Vector]],
        running: Collection[tuple[int, int]] = (),
        closing: bool = False,
    ) -> list[tuple[int, int]]:
        """Promotions owed now as (trial, next rung), rungs numbered from 0: the highest rung first, its best first.

        `results` maps a trial to its objectives (all to be maximised) at each rung it finished, in order. A promotion
        is owed until the trial's result at that rung is there; those in `running` are left out. A trial with a number
        that is not finite stays where it is. `closing`: no trial will begin any more, so at least the best of each
        rung goes on, however few there are. Raises ValueError for results that fit neither the rungs nor each other.
        """
        self._check(results)
        owed: list[tuple[int, int]] = []
        for rung in reversed(range(len(self.epochs) - 1)):
            there = sorted(trial for trial, seen in results.items() if len(seen) > rung)
            count = max(self._share(len(there)), 1 if closing and there else 0)
            sound = [trial for trial in there if all(map(isfinite, results[trial][rung]))]
            best = ranked([results[trial][rung] for trial in sound], count)
            owed += [(sound[index], rung + 1) for index in best if len(results[sound[index]]) == rung + 1]
        return [promotion for promotion in owed if promotion not in running]

    def _share(self, finished: int) -> int:
        """How many of them go on; a share of 1/3 of 3 is 1, whatever floats say."""
        return int(finished * self.keep + 1e-9)

    def _check(self, results: Mapping[int, Sequence[Vector]]) -> None:
        sizes = {len(vector) for seen in results.values() for vector in seen}
        if len(sizes) > 1 or 0 in sizes:
            raise ValueError(f"every result must have the same objectives, at least one; got {sorted(sizes)} of them")
        for trial, seen in results.items():
            if len(seen) > len(self.epochs):
                raise ValueError(f"trial {trial} has {len(seen)} results; there are {len(self.epochs)} rungs")


def ranked(vectors: Sequence[Vector], count: int | None = None) -> list[int]:
    """The places of the best `count` vectors (None: of all), best first; of equal ones the earlier first."""
    count = len(vectors) if count is None else count
    best: list[int] = []
    for front in fronts(vectors):
        if len(best) >= count:
            break
        best += by_room(vectors, front)
    return best[:count]


def fronts(vectors: Sequence[Vector]) -> list[list[int]]:
    """The places of the vectors, front by front: no vector of a front is dominated by one of it or of a later one."""
    found: list[list[int]] = []
    plane = all(len(vector) <= 2 for vector in vectors)  # there the last of a front is the one to beat
    descending = sorted(range(len(vectors)), key=lambda place: ([-value for value in vectors[place]], place))
    for place in descending:  # whoever dominates it stands before it, and in every front above its own

        def is_free(front: int, place: int = place) -> bool:
            others = found[front][-1:] if plane else found[front]
            return not any(dominates(vectors[other], vectors[place]) for other in others)

        own = bisect_left(range(len(found)), True, key=is_free)
        if own == len(found):
            found.append([])
        found[own].append(place)
    return found


def dominates(one: Vector, other: Vector) -> bool:
    """At least as good in everything, and better in something."""
    return one != other and all(mine >= its for mine, its in zip(one, other, strict=True))


def by_room(vectors: Sequence[Vector], front: Sequence[int]) -> list[int]:
    """A front, those first that have most room between their neighbours: the crowding distance of NSGA-II."""
    room = dict.fromkeys(front, 0.0)
    for values in zip(*(vectors[place] for place in front), strict=True):
        order = sorted(range(len(front)), key=lambda index: (values[index], front[index]))
        low, high = values[order[0]], values[order[-1]]
        if low == high:
            continue
        room[front[order[0]]] = room[front[order[-1]]] = inf
        for before, index, after in zip(order, order[1:], order[2:], strict=False):
            room[front[index]] += (values[after] - values[before]) / (high - low)
    return sorted(front, key=lambda place: (-room[place], place))
