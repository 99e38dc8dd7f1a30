"""The pictures of a search: how it went, which choices led where, what mattered, and the front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator

from snugnet.report.plots import percent_axis, short
from snugnet.report.style import BLUE, GRID, INK, ORANGE, PAPER, Plot, axes, drawn, figure_of
from snugnet.search.progress import Progress
from snugnet.search.show import short_keys, shown, shown_value
from snugnet.search.space import Axis
from snugnet.search.study import UP

WIDTH = 340
COLUMN = 88  # points an axis of parallel coordinates takes
LOWEST = 0.15  # opacity of the worst design's line


@drawn
def history(progress: Progress) -> Plot:
    """Each trial's first objective, and the best so far."""
    name = progress.study.config.objectives[0]
    trials = sorted(progress.finished)
    values = [progress.finished[number][name] for number in trials]
    ax = axes(WIDTH, 260)
    ax.scatter(trials, values, s=18, color=BLUE, label="trial", zorder=3)
    best: list[float] = []
    for value in values:
        best.append(value if not best else (max if name in UP else min)(best[-1], value))
    ax.step(trials, best, where="post", color=ORANGE, label="best so far")
    ax.set_title(f"{name} by trial")
    ax.set_xlabel("trial")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    objective_axis(ax.yaxis, name)
    figure_of(ax).legend(loc="outside lower left", ncols=2)
    return Plot("study_history", f"{name} of {len(trials)} trials; the best is {shown(name, best[-1])}", figure_of(ax))


@drawn
def front_plot(progress: Progress, other: str) -> Plot:
    """The first objective against another: all trained designs, and which of them no other beats."""
    first = progress.study.config.objectives[0]
    ax = axes(WIDTH, 260)
    spots = {number: (values[other], values[first]) for number, values in progress.finished.items()}
    on_front = [number for number in progress.front if number in spots]
    beaten = [spot for number, spot in spots.items() if number not in on_front]
    if beaten:
        ax.scatter(
            [x for x, _ in beaten], [y for _, y in beaten], s=22, facecolor=PAPER, edgecolor=BLUE, label="beaten"
        )
    best = [spots[number] for number in on_front]
    ax.scatter([x for x, _ in best], [y for _, y in best], s=30, color=ORANGE, label="on the front", zorder=3)
    for number in on_front:
        ax.annotate(str(number), spots[number], (4, -11), textcoords="offset points", fontsize=9)
    ax.set_title(f"{first} against {other}")
    ax.set_xlabel(other)
    ax.margins(0.1)
    objective_axis(ax.yaxis, first)
    objective_axis(ax.xaxis, other)
    figure_of(ax).legend(loc="outside lower left", ncols=2)
    told = "; ".join(f"trial {n}: {shown(first, spots[n][1])}, {shown(other, spots[n][0])}" for n in on_front)
    return Plot(f"study_front_{other}", f"{first} against {other}. {told}", figure_of(ax))


def objective_axis(axis: Any, name: str) -> None:
    if name == "accuracy":
        percent_axis(axis)
        return
    axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if name == "latency" else f"{value:,.4g}"))


@drawn
def importance_bars(found: Mapping[str, float], objective: str) -> Plot:
    """How much each key accounts for."""
    names = short_keys(list(found))
    ax = axes(WIDTH, 90 + 24 * len(found))
    order = sorted(found, key=lambda key: found[key])
    ax.barh([short(names[key], 26) for key in order], [found[key] for key in order], color=BLUE)
    ax.grid(axis="y", visible=False)
    ax.set_title(f"What {objective} hangs on")
    ax.set_xlim(0, max(found.values()) * 1.15 or 1)
    percent_axis(ax.xaxis)
    told = ", ".join(f"{key} {100 * found[key]:.0f} %" for key in reversed(order))
    return Plot("study_importances", f"Shares of what {objective} hangs on: {told}", figure_of(ax))


@drawn
def parallel(progress: Progress) -> Plot:
    """Each trained design as a line over its choices to its first objective; the better, the darker."""
    name, keys = progress.study.config.objectives[0], list(progress.study.space.axes)
    names = short_keys([axis.key for axis in keys])
    ax = axes(max(WIDTH, COLUMN * (len(keys) + 1)), 300)
    values = {number: found[name] for number, found in progress.finished.items()}
    low, high = min(values.values()), max(values.values())
    heights = {number: (value - low) / (high - low) if high > low else 0.5 for number, value in values.items()}
    for number in sorted(values, key=lambda n: heights[n] if name in UP else -heights[n]):
        goodness = heights[number] if name in UP else 1 - heights[number]
        line = [(place, height(axis, progress.trials[number].point)) for place, axis in enumerate(keys)]
        draw_line(
            ax, [*line, (len(keys), heights[number])], LOWEST + (1 - LOWEST) * goodness**2, best=number == progress.best
        )
    for place, axis in enumerate(keys):
        label_axis(ax, place, [(height(axis, {axis.key: value}), shown_value(value)) for value in ticks(axis)])
    label_axis(
        ax, len(keys), [(0.0, shown(name, low)), (1.0, shown(name, high))] if high > low else [(0.5, shown(name, low))]
    )
    ax.set(xlim=(-0.4, len(keys) + 0.5), ylim=(-0.12, 1.08), yticks=[])
    ax.set_xticks(range(len(keys) + 1), [short(names[axis.key], 20) for axis in keys] + [name], rotation=25, ha="right")
    ax.spines["left"].set_visible(False)
    ax.set_title("Designs and where they led")
    best = "" if progress.best is None else f"; the best is trial {progress.best}"
    return Plot("study_parallel", f"{len(values)} designs over {len(keys)} choices to {name}{best}", figure_of(ax))


def draw_line(ax: Axes, line: Sequence[tuple[float, float]], opacity: float, *, best: bool) -> None:
    color, width = (ORANGE, 2.4) if best else (BLUE, 1.2)
    ax.add_collection(
        LineCollection(
            [line], colors=[color], linewidths=[width], alpha=1.0 if best else opacity, zorder=3 if best else 2
        )
    )


def label_axis(ax: Axes, place: int, marks: Sequence[tuple[float, str]]) -> None:
    ax.axvline(place, color=GRID, linewidth=1)
    for spot, text in marks:
        ax.annotate(short(text, 12), (place, spot), (3, 2), textcoords="offset points", fontsize=8, color=INK, zorder=4)


def height(axis: Axis, point: Mapping[str, Any]) -> float:
    """Where a value stands on its axis, 0 to 1; a key that the design does not have stands below."""
    if axis.key not in point:
        return -0.08
    value, low, high = point[axis.key], axis.dimension.start, axis.dimension.to
    if axis.dimension.choices is not None:
        return list(axis.dimension.choices).index(value) / max(1, len(axis.dimension.choices) - 1)
    assert low is not None, "a range has ends"
    assert high is not None, "a range has ends"
    if axis.dimension.log:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def ticks(axis: Axis) -> Sequence[Any]:
    return axis.dimension.choices if axis.dimension.choices is not None else axis.ends()
