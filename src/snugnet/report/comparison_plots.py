"""The pictures of a comparison: Pareto fronts, curves laid over each other, accuracy by what the training cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from snugnet.compare import Comparison
from snugnet.compare.curves import WINDOW, Curve, moving_average
from snugnet.compare.groups import Group
from snugnet.report.plots import epochs_axis, percent_axis, short
from snugnet.report.style import CYCLE, INK, PAPER, Plot, axes, drawn, figure_of
from snugnet.units import show_bytes, show_count, show_flops, show_percent

OURS = "snugnet/"  # recipes of this project, beside those of papers
RAW = 0.35  # opacity of what a moving average was taken of
WIDTH = 340
DECADE = 10  # a wider range of costs is drawn on a logarithmic axis
SHOW: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "params": ("parameters", show_count),
    "bytes": ("bytes of the shipped file", show_bytes),
    "macs": ("multiply-adds an image", show_count),
    "p50_ms": ("latency of one image, ms", lambda value: f"{value:.3g}"),
}
MEASURED = {"train_loss": "Training loss", "val_loss": "Validation loss", "val_accuracy": "Validation accuracy"}


def tick(ax: Axes, value: float, show: Callable[[float], str]) -> str:
    """Short, or whole where short ones would read alike."""
    shown = [show(each) for each in ax.get_xticks()]
    return show(value) if len(set(shown)) == len(shown) else f"{value:,.0f}"


def comparison_plots(comparison: Comparison) -> Iterator[Plot]:
    """All pictures that the runs have the numbers for."""
    for name in comparison.front:
        yield pareto_plot(comparison, name)
    for name in MEASURED:
        if any(value is not None for run in comparison.curves for value in getattr(run, name)):
            yield curves_plot(comparison, name)
    if comparison.equal_flops:
        yield flops_plot(comparison, comparison.equal_flops.flops)


def save_figures(comparison: Comparison, folder: Path) -> list[Path]:
    """Each picture as PDF and as PNG. Raises StorageError."""
    return [path for plot in comparison_plots(comparison) for path in (plot.save_pdf(folder), plot.save(folder))]


@drawn
def pareto_plot(comparison: Comparison, name: str) -> Plot:
    """Accuracy against one cost; the line joins the best at each, hollow marks are beaten in everything."""
    groups, (what, show) = comparison.groups, SHOW[name]
    values = [getattr(group, name) for group in groups]
    ax = axes(WIDTH, 250 + 15 * len(groups))
    doubtful = name == "p50_ms" and any(group.disturbed for group in groups)
    if is_wide := max(values) > DECADE * min(values):
        ax.set_xscale("log")
    ax.step(*zip(*staircase(groups, name), strict=True), where="post", color=INK, linewidth=1, linestyle="--")
    for number, (group, color) in enumerate(zip(groups, colors(len(groups)), strict=True), 1):
        spot = getattr(group, name), group.mean
        mark = " †" if doubtful and group.disturbed else ""
        draw_group(ax, group, spot, color, f"{number}{mark}", beaten=group.name not in comparison.pareto)
    ax.margins(x=0.1, y=0.12)
    ax.set(xlabel=what + (" († beside other work)" if doubtful else ""), ylabel=f"{comparison.split} accuracy")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(ax, value, show)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=5) if is_wide else MaxNLocator(4))
    percent_axis(ax.yaxis)
    ax.set_title(f"Accuracy against {what.partition(' of ')[0].partition(' an ')[0]}")
    figure_of(ax).legend(loc="outside lower left")
    return Plot(f"pareto_{name}", f"Accuracy against {what}; not beaten: {', '.join(comparison.pareto)}", figure_of(ax))


def draw_group(ax: Axes, group: Group, spot: tuple[float, float], color: str, number: str, *, beaten: bool) -> None:
    """A numbered mark, its spread over seeds, and its line in the legend: names beside marks would overlap."""
    ours = is_ours(group)
    label = f"{number}  {short(group.name, 40)}" + (" (ours)" if ours else "")
    ax.errorbar(*spot, group.std, color=color, capsize=3, zorder=2)
    face = PAPER if beaten else color
    ax.scatter(*spot, s=46, marker="D" if ours else "o", facecolor=face, edgecolor=color, zorder=3, label=label)
    offset, align = ((6, -12), "left") if beaten else ((-6, 5), "right")  # away from the line
    ax.annotate(number, spot, offset, textcoords="offset points", ha=align, weight="bold")


def is_ours(group: Group) -> bool:
    return group.recipe is not None and group.recipe.startswith(OURS)


def staircase(groups: Sequence[Group], name: str) -> list[tuple[float, float]]:
    """By rising cost, the accuracies that nothing cheaper reaches."""
    steps: list[tuple[float, float]] = []
    for group in sorted(groups, key=lambda g: (getattr(g, name), -g.mean)):
        if not steps or group.mean > steps[-1][1]:
            steps.append((getattr(group, name), group.mean))
    return steps


def colors(count: int) -> list[str]:
    return [CYCLE[i % len(CYCLE)] for i in range(count)]


@drawn
def curves_plot(comparison: Comparison, name: str) -> Plot:
    """One measure of all runs by epoch; the runs of a group share a colour and a line in the legend."""
    title, drawn_runs = MEASURED[name], having(comparison, name)
    ax = axes(WIDTH, 250 + 15 * len(dict.fromkeys(group for group, _ in drawn_runs)))
    is_smooth = any(len(run.epoch) > 2 * WINDOW for _, run in drawn_runs)
    epochs_axis(ax, f"{title}, mean of {WINDOW} epochs" if is_smooth else title)
    lay_over(ax, drawn_runs, name, lambda run: run.epoch)
    if name == "val_accuracy":
        percent_axis(ax.yaxis)
    figure_of(ax).legend(loc="outside lower left")
    names = ", ".join(dict.fromkeys(group for group, _ in drawn_runs))
    return Plot(f"compare_{name}", f"{title} by epoch of {names}", figure_of(ax))


@drawn
def flops_plot(comparison: Comparison, equal: float) -> Plot:
    """Val accuracy by what the training has cost so far; the line stands at what all runs spent."""
    drawn_runs = having(comparison, "val_accuracy")
    ax = axes(WIDTH, 265 + 15 * len(dict.fromkeys(group for group, _ in drawn_runs)))
    ax.set_title("Validation accuracy by training FLOPs")
    ax.set_xlabel("training FLOPs so far")
    ax.axvline(equal, color=INK, linewidth=1, linestyle=":", label=f"{show_flops(equal)}, which all runs reached")
    lay_over(ax, drawn_runs, "val_accuracy", lambda run: run.flops)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: show_flops(value).removesuffix("FLOP") if value else "0")
    )
    percent_axis(ax.yaxis)
    figure_of(ax).legend(loc="outside lower left")
    means = comparison.equal_flops.means if comparison.equal_flops else {}
    best = ", ".join(f"{name} {show_percent(value)}" for name, value in means.items() if value is not None)
    return Plot(
        "compare_flops", f"Validation accuracy by training FLOPs; at {show_flops(equal)}: {best}", figure_of(ax)
    )


def having(comparison: Comparison, name: str) -> list[tuple[str, Curve]]:
    """The runs that have a measure, each with its group."""
    group_of = {run.path: run.group for run in comparison.runs}
    return [(group_of[c.path], c) for c in comparison.curves if any(v is not None for v in getattr(c, name))]


def lay_over(
    ax: Axes, runs: Sequence[tuple[str, Curve]], name: str, across: Callable[[Curve], Sequence[float]]
) -> None:
    """Raw lines, faint beneath their moving averages where there are epochs enough for one."""
    names = list(dict.fromkeys(group for group, _ in runs))
    for place, color in enumerate(colors(len(names))):
        dashes = ("-", "--", ":")[place // len(CYCLE) % 3]
        label: str | None = short(names[place], 44)
        for run in (run for group, run in runs if group == names[place]):
            values = getattr(run, name)
            is_smooth = len(values) > 2 * WINDOW
            style: Any = {"color": color, "linestyle": dashes}
            points(ax, across(run), values, label=None if is_smooth else label, is_raw=is_smooth, **style)
            if is_smooth:
                points(ax, across(run), moving_average(values), label=label, **style)
            label = None


def points(
    ax: Axes, across: Sequence[float], values: Sequence[float | None], *, is_raw: bool = False, **style: Any
) -> None:
    """A line through what is known; of few epochs each shows as a dot."""
    known = [(x, value) for x, value in zip(across, values, strict=True) if value is not None]
    if known:
        few = "o" if len(known) <= 2 * WINDOW and not is_raw else None
        width, alpha = (0.8, RAW) if is_raw else (1.6, 1.0)
        ax.plot(*zip(*known, strict=True), linewidth=width, alpha=alpha, marker=few, markersize=3.5, **style)
