"""From a budget to a design: all of a family priced by arithmetic, and the best of those that fit by one rule.

The family of a recipe: its stem, head and the form of its stages (entries, strides, pools), each stage of any width and
depth, all of one block. The rule is of `by_rule`; docs/budget.md says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snugnet import budget, counts
from snugnet.artifact import Card
from snugnet.budget import Budget
from snugnet.counts import Forms, Sums
from snugnet.errors import OverBudget
from snugnet.models.spec import ModelSpec, Stage

Array = NDArray[Any]
KINDS = ("basic", "single", "bottleneck", "depthwise", "preact", "fire")
MOST_BLOCKS = 8  # in a stage
APART = 2  # blocks that one stage may have more than another
GROWTH = (1.5, 2.5)  # width of a stage over that of the one before, where the map halves; from 1 where it does not
WIDEST = 1024
LARGEST_GRID = 100_000  # widths of all stages together, before depths and blocks
BAND = 0.05  # a difference that decides nothing by itself
DEEP_ENOUGH = 20  # convolutions on the way through the stages
SHOWN = 5
TRIED = 400  # candidates built for what has no closed form, before the search gives up
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


Rule = Callable[[Designs], Array]


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


def by_rule(designs: Designs) -> Array:
    """Places, the best first. More MACs, in bands of 5 % of the most; then more parameters, in bands of 5 %; then
    deeper, up to DEEP_ENOUGH convolutions; then widths nearer to doubling; then more parameters."""
    macs, params = (-np.log(np.maximum(each, 1) / each.max()) // BAND for each in (designs.macs, designs.params))
    depth = -np.minimum(designs.depth, DEEP_ENOUGH)
    return np.lexsort((designs.kinds, -designs.macs, -designs.params, np.round(designs.growth, 2), depth, params, macs))


def explore(card: Card, limits: Budget, rule: Rule = by_rule, shown: int = SHOWN) -> Found:
    """The best designs of the card's family within the limits. `rule` orders what fits; a predictor of accuracy that
    was fitted to a study may stand in its place. Raises OverBudget where none fits, RecipeError for a family whose
    cost has no closed form."""
    family = Family(card, limits)
    started, priced = time.perf_counter(), 0
    for grid in (*GRIDS, *NARROW):
        widths = family.widths(grid)
        if widths.shape[1] > LARGEST_GRID:
            continue
        parts = list(family.priced(widths))
        priced += sum(count for count, _ in parts)
        kept = [designs for _, designs in parts if len(designs)]
        if not kept:
            continue
        designs = _joined(kept)
        order = rule(designs)
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
        model = card.model
        plain = [Stage(block="basic", blocks=1, channels=1, **_form(stage)) for stage in model.stages]
        stem = model.stem if model.whitens else model.stem_channels
        self.stem_width = model.stem_channels if model.whitens or model.stem == "none" else None
        if self.stem_width is None and model.stem != "none" and model.stem.channels:
            self.stem_width = int(stem) if isinstance(stem, int) else None
        self.card, self.limits = card, limits
        self.model = model.model_copy(update={"stages": tuple(plain), "width": 1.0})
        if self.stem_width is not None and model.stem != "none":
            own = model.stem.model_copy(update={"channels": self.stem_width})
            self.model = self.model.model_copy(update={"stem": own})
        self.forms = Forms(self.model)
        sizes = self.forms.sizes
        self.shrinks = [after < before for before, after in zip(sizes, sizes[1:-1], strict=False)]

    def widths(self, grid: tuple[tuple[int, int], ...]) -> Array:
        """A column for each choice of the stages' widths, those of later stages growing as GROWTH says."""
        each = np.array(sorted({width for top, step in grid for width in range(step, top + 1, step)}))
        each = np.array([width for width in each if width % _step(grid, int(width)) == 0], dtype=np.int64)
        found = each[None]
        for shrinks in self.shrinks[1:]:
            low, high = (GROWTH[0] if shrinks else 1.0), GROWTH[1]
            ratio = each[:, None] / found[-1][None]
            new, old = np.nonzero((ratio >= low) & (ratio <= high))
            found = np.concatenate([found[:, old], each[new][None]])
            if found.shape[1] > LARGEST_GRID:
                break  # too fine a grid for so many stages
        return found

    def priced(self, widths: Array) -> Iterator[tuple[int, Designs]]:
        """For each block, how many designs were priced, and those within the limits."""
        depths = self._depths()
        for kind, block in enumerate(KINDS):
            fixed, firsts, rests = self._parts(block, widths)
            least = self._fits(block, reduce(Sums.__add__, [fixed, *firsts]), np.ones((len(firsts), 1), dtype=int))
            columns = np.flatnonzero(least)
            count = widths.shape[1]
            if len(columns):
                fixed, firsts, rests = self._parts(block, widths[:, columns])
                count += len(columns) * (depths.shape[1] - 1)
            yield count, self._of_block(kind, widths[:, columns], depths, fixed, firsts, rests)

    def _depths(self) -> Array:
        """A column for each choice of the stages' blocks."""
        stages = len(self.model.stages)
        every = np.stack(np.meshgrid(*[np.arange(1, MOST_BLOCKS + 1)] * stages, indexing="ij")).reshape(stages, -1)
        return every[:, every.max(0) - every.min(0) <= APART]

    def _parts(self, block: str, widths: Array) -> tuple[Sums, list[Sums], list[Sums]]:
        """What every depth has, the first block of each stage, and each further one, for all widths at once."""
        into = widths[0] if self.stem_width is None else np.full_like(widths[0], self.stem_width)
        fixed, firsts, rests = self.forms.stem(into) + self.forms.head(widths[-1]), [], []
        for index, out in enumerate(widths):
            opening, first, rest = self.forms.stage(index, block, into, out, 2)
            fixed, into = fixed + opening, out
            firsts.append(first)
            rests.append(rest)
        return fixed, firsts, rests

    def _of_block(
        self, kind: int, widths: Array, depths: Array, fixed: Sums, firsts: list[Sums], rests: list[Sums]
    ) -> Designs:
        """Those that fit, depth by depth: what a depth costs is a sum of arrays that are there already."""
        block, kept = KINDS[kind], list[Designs]()
        base = reduce(Sums.__add__, [fixed, *firsts])
        growth = self._growth(widths)
        for each in depths.T if widths.shape[1] else []:
            more = [rest * (blocks - 1) for rest, blocks in zip(rests, each, strict=True) if blocks > 1]
            sums = reduce(Sums.__add__, more, base)
            places = np.flatnonzero(self._fits(block, sums, each[:, None]))
            if len(places):
                whole = np.full(len(places), counts.DEPTH[block] * each.sum())
                depth = whole + sum(stage.entry is not None for stage in self.model.stages)
                same = np.repeat(each[:, None], len(places), axis=1)
                costs = (sums.params[places], sums.macs[places])
                kept.append(Designs(np.full(len(places), kind), widths[:, places], same, *costs, depth, growth[places]))
        none = np.zeros((len(widths), 0), dtype=np.int64)
        return _joined(kept) if kept else Designs(none[0], none, none, *[none[0]] * 4)

    def _growth(self, widths: Array) -> Array:
        steps = np.log2(widths[1:] / widths[:-1]) - np.array(self.shrinks[1:], dtype=float)[:, None]
        return np.abs(steps).mean(0) if len(steps) else np.zeros(widths.shape[1])

    def _fits(self, block: str, sums: Sums, blocks: Array) -> Array:
        """Whether a design may be within the limits, as far as closed forms tell: bytes from the shortest header on,
        and of memory as C nothing."""
        low, high = self._header(block, sums, blocks) if self._asks("bytes") else (0, 0)
        least = {
            "params": sums.params,
            "macs": sums.macs,
            "size_mb": sums.size_mb,
            "peak_activation_bytes": sums.peak,
            "bytes": sums.data_bytes + low,
        }
        most = {**least, "bytes": sums.data_bytes + high}
        if self.card.quantization:
            least["bytes"], most["bytes"] = sums.params // 8, np.full_like(sums.params, np.iinfo(np.int64).max)
        fits = np.ones(len(sums.params), dtype=bool)
        for name, limit in self.limits.limits().items():
            fits &= least[name] <= limit if name in least else True
        for name, limit in (self.limits.floor or {}).items():
            fits &= most[name] >= limit if name in most else True
        return fits

    def _asks(self, name: str) -> bool:
        return name in self.limits.limits() or name in (self.limits.floor or {})

    def _header(self, block: str, sums: Sums, blocks: Array) -> tuple[Array, Array]:
        """The least and the most bytes of a file's header: all of it is known but how long the offsets are."""
        stages = len(self.model.stages)
        plain = self.card_of(block, (1,) * stages, tuple(map(int, blocks[:, 0])))
        text = len(_quoted(plain.text())) + sums.text
        shortest = text + 2 * sums.tensors
        longest = text + 2 * sums.tensors * counts.digits(sums.data_bytes) + 4 * stages  # and the widths' digits
        return shortest, longest + 32

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
        """What the arrays left open: the bytes of the file, to the last one, and memory as C."""
        for name in ("bytes", "ram_bytes"):
            if not self._asks(name):
                continue
            used = budget.measure(card, name)
            limit, floor = self.limits.limits().get(name), (self.limits.floor or {}).get(name, 0)
            if (limit is not None and used > limit) or used < floor:
                return False
        return True


def _step(grid: tuple[tuple[int, int], ...], width: int) -> int:
    return next(step for top, step in grid if width <= top)


def _quoted(text: str) -> str:
    """As a string in JSON."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


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
