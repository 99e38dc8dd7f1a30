"""From a budget to a design: all of a family priced by arithmetic, and the best of those that fit by one rule.

The family of a recipe: its stem, head and the form of its stages (entries, strides, pools), each stage of any width and
depth, all of one block. The rule is of `by_rule`; docs/budget.md says why.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snugnet import counts
from snugnet.artifact import Card
from snugnet.budget import Budget
from snugnet.counts import Forms, Sums
from snugnet.errors import OverBudget, RecipeError
from snugnet.models.spec import ModelSpec, Stage

Array = NDArray[Any]
ROWS = ("params", "macs", "statistics", "counters", "tensors", "text")
KINDS = ("basic", "single", "bottleneck", "depthwise", "preact", "fire")
MOST_BLOCKS = 8  # in a stage
APART = 2  # blocks that one stage may have more than another
GROWTH = (1.5, 2.5)  # width of a stage over that of the one before, where the map halves; from 1 where it does not
WIDEST = 1024
LARGEST_GRID = 60_000  # choices of widths, before depths and blocks
MOST_PRICED = 6_000_000
AT_ONCE = 200_000  # designs, so that what is summed stays in the processor's caches
BAND = 0.05  # a difference that decides nothing by itself
DEEP_ENOUGH = 20  # convolutions on the way through the stages
SHOWN = 5
TRIED = 100  # of the best, held to the bytes of their file one by one until enough are within
# Between multiples of 8 where all may stand, and fewer as nets have more stages: (up to, step).
GRIDS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((WIDEST, 8),),
    ((128, 8), (256, 16), (512, 32), (WIDEST, 64)),
    ((64, 8), (128, 16), (256, 32), (512, 64), (WIDEST, 128)),
    ((32, 8), (64, 16), (128, 32), (256, 64), (512, 128), (WIDEST, 256)),
)
NARROW = (((64, 4),), ((24, 1),))  # where no multiples of 8 fit


@dataclass(frozen=True)
class Designs:
    """A design in each place of the arrays; `widths` and `blocks` have a row for each stage."""

    kinds: Array  # places in KINDS
    widths: Array
    blocks: Array
    params: Array
    macs: Array
    depth: Array  # convolutions on the way through the stages
    growth: Array  # how far the widths are from doubling with each halving of the map: mean of |log2|

    def __len__(self) -> int:
        return len(self.kinds)

    def take(self, places: Array) -> Designs:
        taken = {name: value[..., places] for name, value in vars(self).items()}
        return Designs(**taken)


@dataclass(frozen=True)
class _Parts:
    """Costs of one block a stage, and of each further block of a stage: rows as ROWS, a column for each choice of
    widths."""

    base: Array
    peak: Array
    rests: list[Array]
    rest_peaks: list[Array]
    card_text: int


Rule = Callable[[Designs, int], Array]  # places of the best, so many or all, the best first


@dataclass(frozen=True)
class Found:
    """`ranked` are cards, the best first; `priced` counts the designs whose cost was computed, `fit` those within."""

    ranked: tuple[Card, ...]
    priced: int
    fit: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.priced / self.seconds


def by_rule(designs: Designs, count: int) -> Array:
    """More MACs, in bands of 5 % of the most; then more parameters, in bands of 5 %; then deeper, up to DEEP_ENOUGH
    convolutions; then widths nearer to doubling; then more parameters."""
    macs, params = (-np.log(np.maximum(each, 1) / each.max()) // BAND for each in (designs.macs, designs.params))
    count = min(count, len(macs))
    near = np.flatnonzero(macs <= np.partition(macs, count - 1)[count - 1])  # sorting millions would take seconds
    few = designs.take(near)
    depth, growth = -np.minimum(few.depth, DEEP_ENOUGH), np.round(few.growth, 2)
    keys = (few.kinds, -few.macs, -few.params, growth, depth, params[near], macs[near])
    return near[np.lexsort(keys)][:count]


def explore(card: Card, limits: Budget, rule: Rule = by_rule, shown: int = SHOWN) -> Found:
    """The best designs of the card's family within the limits: `shown` of the first TRIED by the rule.

    `rule` orders what fits; a predictor of accuracy that was fitted to a study may stand in its place. Raises
    OverBudget where none fits, RecipeError for limits or a family whose cost has no closed form.
    """
    family = Family(card, limits)
    started, priced = time.perf_counter(), 0
    for grid in (*GRIDS, *NARROW):
        widths = family.widths(grid)
        if widths.shape[1] > LARGEST_GRID:
            continue
        shallow = [family.shallow(block, widths) for block in KINDS]
        if sum(map(family.count, shallow)) > MOST_PRICED:
            continue
        priced += len(KINDS) * widths.shape[1] + sum(map(family.count, shallow))
        kept = [family.within(kind, columns) for kind, columns in enumerate(shallow)]
        designs = _joined(list(chain.from_iterable(kept)) or [family.none()])
        order = rule(designs, TRIED) if len(designs) else np.arange(0)
        seconds = time.perf_counter() - started
        ranked = family.confirmed(designs, order, shown)
        if ranked:
            return Found(tuple(ranked), priced, len(designs), seconds)
    raise OverBudget(
        f"none of {priced:,} designs is within the budget; give more, or --like RECIPE to narrow that recipe's net"
    )


def _joined(parts: list[Designs]) -> Designs:
    return Designs(**{name: np.concatenate([vars(part)[name] for part in parts], axis=-1) for name in vars(parts[0])})


class Family:
    """The designs like a card's net, and which of them are within the limits."""

    def __init__(self, card: Card, limits: Budget) -> None:
        model, stem = card.model, card.model.stem
        self.card, self.limits = card, limits
        self.asked = {*limits.limits(), *(limits.floor or {})}
        self._refuse_what_has_no_closed_form()
        follows = stem != "none" and stem.channels is None and not stem.whiten  # as wide as the first stage
        self.stem_width = None if follows else model.stem_channels
        if stem != "none":
            stem = stem.model_copy(update={"channels": self.stem_width})
        stages = tuple(Stage(block="basic", blocks=1, channels=1, **_form(stage)) for stage in model.stages)
        self.model = model.model_copy(update={"stages": stages, "stem": stem, "width": 1.0})
        self.forms = Forms(self.model, header="bytes" in self.asked)
        sizes = self.forms.sizes
        self.shrinks = [after < before for before, after in pairwise(sizes[:-1])]
        every = np.stack(np.meshgrid(*[np.arange(1, MOST_BLOCKS + 1)] * len(stages), indexing="ij"))
        every = every.reshape(len(stages), -1)
        self.depths = every[:, every.max(0) - every.min(0) <= APART]

    def _refuse_what_has_no_closed_form(self) -> None:
        for name, has_none in (("ram_bytes", True), ("bytes", self.card.quantization is not None)):
            if has_none and name in self.asked:
                what = "memory as C" if name == "ram_bytes" else "the file of a quantised net"
                raise RecipeError(
                    f"--budget {name}: {what} has no closed form to search by; give --like RECIPE without --search, or "
                    "limits of params, macs or peak_activation"
                )

    def widths(self, grid: tuple[tuple[int, int], ...]) -> Array:
        """A column for each choice of the stages' widths, those of later stages growing as GROWTH says."""
        starts = (0, *(top for top, _ in grid))
        each = np.concatenate(
            [np.arange(low + step, top + 1, step) for low, (top, step) in zip(starts, grid, strict=False)]
        )
        found = self._affordable(0, each)[None]
        for index, shrinks in enumerate(self.shrinks[1:], 1):
            low, high = (GROWTH[0] if shrinks else 1.0), GROWTH[1]
            here = self._affordable(index, each)
            ratio = here[:, None] / found[-1][None]
            new, old = np.nonzero((ratio >= low) & (ratio <= high))
            found = np.concatenate([found[:, old], here[new][None]])
            if found.shape[1] > LARGEST_GRID:
                break  # too fine a grid for so many stages
        return found

    def _affordable(self, index: int, widths: Array) -> Array:
        """Those of which one stage alone, entered by as few channels as may be, is within the limits in some form."""
        into = np.maximum(1, (widths / GROWTH[1]).astype(np.int64))
        if index == 0:
            into = widths if self.stem_width is None else np.full_like(widths, self.stem_width)
        fits = np.zeros(len(widths), dtype=bool)
        for block in KINDS:
            opening, first = self.forms.stage(index, block, into, widths, 1)
            sums = opening + first
            fits |= self._fits(self._rows(sums, widths[None]), sums.peak, 0, floor=False)
        return widths[fits]

    def shallow(self, block: str, widths: Array) -> Array:
        """The widths that fit with one block a stage; deeper nets of the others do not either."""
        parts = self._parts(block, widths)
        return widths[:, self._fits(parts.base, parts.peak, parts.card_text, floor=False)]

    def count(self, widths: Array) -> int:
        return int(widths.shape[1] * self.depths.shape[1])

    def within(self, kind: int, widths: Array) -> list[Designs]:
        """Those that fit. What a depth costs is a weighted sum of arrays that are there already, so that a design is
        two multiplications a stage; as float64, which holds such numbers exactly."""
        count = widths.shape[1]
        if not count:
            return []
        parts, found = self._parts(KINDS[kind], widths), list[Designs]()
        growth, opened = self._growth(widths), sum(stage.entry is not None for stage in self.model.stages)
        rests = np.stack(parts.rests).reshape(len(widths), -1).astype(float)
        for depths in np.array_split(self.depths, -(-self.depths.shape[1] * count // AT_ONCE), axis=1):
            costs = parts.base[:, None] + self._more(depths, rests, count)
            peak = self._peaks(depths, parts)
            fits = self._fits(costs.reshape(len(costs), -1), np.ravel(peak), parts.card_text)
            deep, wide = np.nonzero(fits.reshape(-1, count))
            blocks = depths[:, deep]
            depth = counts.DEPTH[KINDS[kind]] * blocks.sum(0) + opened
            params, macs = costs[:2, deep, wide].astype(np.int64)
            found.append(Designs(np.full(len(deep), kind), widths[:, wide], blocks, params, macs, depth, growth[wide]))
        return found

    def _more(self, depths: Array, rests: Array, count: int) -> Array:
        """What blocks behind the first of each stage cost: (rows, depths, widths)."""
        more: Array = ((depths - 1).T.astype(float) @ rests).reshape(depths.shape[1], -1, count)
        return more.transpose(1, 0, 2)

    def _peaks(self, depths: Array, parts: _Parts) -> Array:
        peak = np.broadcast_to(parts.peak, parts.base[0].shape)[None]
        if "peak_activation_bytes" not in self.asked:
            return np.broadcast_to(peak, (depths.shape[1], peak.shape[1]))
        for blocks, own in zip(depths, parts.rest_peaks, strict=True):
            peak = np.maximum(peak, np.where(blocks > 1, 1, 0)[:, None] * own)
        return peak

    def none(self) -> Designs:
        empty = np.zeros((len(self.model.stages), 0), dtype=np.int64)
        return Designs(empty[0], empty, empty, *[empty[0]] * 4)

    def _parts(self, block: str, widths: Array) -> _Parts:
        into = widths[0] if self.stem_width is None else np.full_like(widths[0], self.stem_width)
        fixed, rests = self.forms.stem(into) + self.forms.head(widths[-1]), list[Sums]()
        for index, out in enumerate(widths):
            opening, first, rest = self.forms.stage(index, block, into, out, 2)
            fixed, into = fixed + opening + first, out
            rests.append(rest)
        peaks = [np.broadcast_to(rest.peak, widths[0].shape) for rest in rests]
        once = (1,) * len(widths)
        text = len(json.dumps(self.card_of(block, once, once).text()))
        return _Parts(self._rows(fixed, widths), fixed.peak, [self._rows(each, widths) for each in rests], peaks, text)

    def _rows(self, sums: Sums, widths: Array) -> Array:
        """A row for each of ROWS that the limits ask for."""
        return np.stack([np.broadcast_to(getattr(sums, name), widths[0].shape) for name in self._names()])

    def _names(self) -> tuple[str, ...]:
        return ROWS if self.asked & {"bytes", "size_mb"} else ROWS[:2]

    def _growth(self, widths: Array) -> Array:
        steps = np.log2(widths[1:] / widths[:-1]) - np.array(self.shrinks[1:], dtype=float)[:, None]
        return np.abs(steps).mean(0) if len(steps) else np.zeros(widths.shape[1])

    def _fits(self, costs: Array, peak: Array, card_text: int, floor: bool = True) -> Array:
        """Whether designs may be within the limits, as far as arrays tell: of a file's header it is not known how long
        the offsets are."""
        sums = Sums(**dict(zip(self._names(), costs, strict=True)), peak=peak)
        least = {"params": sums.params, "macs": sums.macs, "size_mb": sums.size_mb, "peak_activation_bytes": sums.peak}
        most = dict(least)
        if "bytes" in self.asked:
            least["bytes"], most["bytes"] = self._bytes(sums, card_text)
        fits = np.ones(costs.shape[1], dtype=bool)
        for name, limit in self.limits.limits().items():
            fits &= least[name] <= limit if name in least else True
        for name, limit in (self.limits.floor or {}).items() if floor else ():
            fits &= most[name] >= limit if name in most else True
        return fits

    def _bytes(self, sums: Sums, card_text: int) -> tuple[Array, Array]:
        """The least and the most that a file may have: offsets of one digit, or all of the last one's."""
        header = 8 + len('{"__metadata__":{"snugnet":}}') + card_text + sums.text
        widths = 5 * len(self.model.stages)  # letters of them in the card, beside its own
        longest = header + 2 * sums.tensors * counts.digits(sums.data_bytes) + widths + 8
        return sums.data_bytes + header + 2 * sums.tensors, sums.data_bytes + longest

    def card_of(self, block: str, widths: tuple[int, ...], blocks: tuple[int, ...]) -> Card:
        stages = tuple(
            stage.model_copy(update={"block": block, "channels": width, "blocks": count})
            for stage, width, count in zip(self.model.stages, widths, blocks, strict=True)
        )
        return self.card.model_copy(update={"model": self.model.model_copy(update={"stages": stages})})

    def confirmed(self, designs: Designs, order: Array, shown: int) -> list[Card]:
        """The first that are within every limit, each held to its exact price."""
        found: list[Card] = []
        for place in order[:TRIED]:
            widths, blocks = (tuple(map(int, each[:, place])) for each in (designs.widths, designs.blocks))
            card = self.card_of(KINDS[int(designs.kinds[place])], widths, blocks)
            if self._is_within(card):
                found.append(card)
                if len(found) == shown:
                    break
        return found

    def _is_within(self, card: Card) -> bool:
        """What the arrays left open: the bytes of the file, to the last one."""
        if "bytes" not in self.asked:
            return True
        used = counts.file_bytes(card, Forms(card.model).whole())
        return (self.limits.floor or {}).get("bytes", 0) <= used <= self.limits.limits().get("bytes", used)


def _form(stage: Stage) -> dict[str, Any]:
    """What all designs of a family have of a stage."""
    given = ("stride", "entry", "kernel", "dropout", "drop_path", "shortcut", "pool")
    return {name: getattr(stage, name) for name in given}


def described(card: Card) -> dict[str, Any]:
    """A design in a line: block, blocks and widths of each stage, and what it costs."""
    sums = Forms(card.model).whole()
    model: ModelSpec = card.model
    return {
        "block": model.stages[0].block,
        "blocks": [stage.blocks for stage in model.stages],
        "widths": [stage.channels for stage in model.stages],
        "params": int(sums.params),
        "macs": int(sums.macs),
    }
