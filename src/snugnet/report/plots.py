"""The pictures of a run. Each function draws from plain numbers and returns a `Plot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from torch import Tensor

from snugnet.compare.curves import WINDOW, moving_average
from snugnet.evaluate.metrics import calibration
from snugnet.report.style import BLUE, GRID, INK, ORANGE, Plot, axes, drawn, figure_of
from snugnet.train.range_test import Point, Suggestion
from snugnet.units import show_bytes, show_count, show_percent

MOST_BARS = 30
AVERAGED_FROM = 15  # epochs, from where a moving average is drawn
MOST_NUMBERS = 12  # classes up to which a confusion matrix has room for numbers
WITH_LEGEND = 250  # points of height, for a picture with a line of legend under it
Metrics = Sequence[Mapping[str, Any]]


def epochs_axis(ax: Axes, title: str, averaged: int = 0) -> None:
    """`averaged`: of how many epochs, where there are enough for a moving average."""
    ax.set_title(title)
    ax.set_xlabel("epoch" if averaged < AVERAGED_FROM else f"epoch (thick: mean of {WINDOW} epochs)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def below(ax: Axes) -> None:
    """The legend in a line under the axes, where it hides nothing."""
    figure_of(ax).legend(loc="outside lower left", ncols=2)


def percent_axis(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


def line(ax: Axes, metrics: Metrics, key: str, **style: Any) -> None:
    """One measure by epoch; epochs without it are left out; a lone epoch shows as a dot."""
    points = [(m["epoch"], m[key]) for m in metrics if m.get(key) is not None]
    if points:
        ax.plot(*zip(*points, strict=True), marker="o" if len(points) < 15 else None, markersize=3.5, **style)


def averaged_line(ax: Axes, metrics: Metrics, key: str, **style: Any) -> None:
    """As `line`; of a long training the raw values thin, and their moving average thick."""
    points = [(m["epoch"], m[key]) for m in metrics if m.get(key) is not None]
    if len(points) < AVERAGED_FROM:
        return line(ax, metrics, key, **style)
    ax.plot(*zip(*points, strict=True), color=style["color"], linewidth=0.8, alpha=0.6)
    epochs, values = zip(*points, strict=True)
    ax.plot(epochs, np.array(moving_average(values), dtype=float), **style)
    return None


@drawn
def loss_curves(metrics: Metrics) -> Plot:
    ax = axes(height=WITH_LEGEND)
    epochs_axis(ax, "Loss", len(metrics))
    averaged_line(ax, metrics, "train_loss", color=BLUE, label="train")
    averaged_line(ax, metrics, "val_loss", color=ORANGE, linestyle="--", label="val")
    below(ax)
    last = f"train loss {metrics[-1]['train_loss']:.3f} after {len(metrics)} epoch{'s' if len(metrics) != 1 else ''}"
    return Plot("loss", f"Loss by epoch, training and validation: {last}", figure_of(ax))


@drawn
def accuracy_curve(metrics: Metrics) -> Plot:
    ax = axes()
    epochs_axis(ax, "Validation accuracy", sum(m["val_accuracy"] is not None for m in metrics))
    averaged_line(ax, metrics, "val_accuracy", color=ORANGE)
    percent_axis(ax.yaxis)
    best = max(m["val_accuracy"] for m in metrics if m["val_accuracy"] is not None)
    return Plot("accuracy", f"Validation accuracy by epoch, at most {show_percent(best)}", figure_of(ax))


@drawn
def lr_curve(metrics: Metrics) -> Plot:
    ax = axes()
    epochs_axis(ax, "Learning rate")
    line(ax, metrics, "lr", color=BLUE)
    ax.set_ylim(bottom=0)
    return Plot("lr", f"Learning rate by epoch, at most {max(m['lr'] for m in metrics):g}", figure_of(ax))


@drawn
def range_curve(points: Sequence[Point], suggestion: Suggestion | None, *, exponential: bool) -> Plot:
    """Loss by learning rate, with the two rates that are suggested."""
    ax = axes(height=WITH_LEGEND)
    ax.set_title("Learning-rate range test")
    ax.set(xlabel="learning rate", ylabel="training loss")
    rates = [point.lr for point in points]
    ax.plot(rates, [point.loss for point in points], color=GRID, linewidth=1, label="each batch")
    ax.plot(rates, [point.smoothed for point in points], color=BLUE, label="smoothed")
    words = "the loss never falls"
    if suggestion:
        words = f"falls from {suggestion.base:.2g} to {suggestion.highest:.2g}"
        for rate in (suggestion.base, suggestion.highest):
            ax.axvline(rate, color=ORANGE, linestyle="--", linewidth=1)
    if exponential:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    below(ax)
    return Plot("lr_find", f"Training loss by learning rate: {words}", figure_of(ax))


@drawn
def confusion_matrix(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Plot:
    """Rows true, columns predicted, in percent of the row; shade grows with its root, so that rare mistakes show."""
    counts = np.array(matrix, dtype=float)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    few = len(classes) <= MOST_NUMBERS
    ax = axes(330, 330)
    shade = np.empty((*share.shape, 4))
    shade[..., :3], shade[..., 3] = to_rgb(BLUE), np.sqrt(share)
    ax.imshow(shade)
    ax.grid(False)
    ax.set(xlabel="predicted", ylabel="true")
    ax.set_title("Confusion, % of the true class" if few else "Confusion, by class number")
    if few:
        name_cells(ax, share, classes)
    wrong = 1 - counts.trace() / max(counts.sum(), 1)
    return Plot("confusion", f"Confusion matrix of {len(classes)} classes, {show_percent(wrong)} off it", figure_of(ax))


def name_cells(ax: Axes, share: Any, classes: Sequence[str]) -> None:
    ax.set_xticks(range(len(classes)), [short(name) for name in classes], rotation=90)
    ax.set_yticks(range(len(classes)), [short(name) for name in classes])
    for (true, predicted), value in np.ndenumerate(share):
        if (shown := f"{100 * value:.0f}") != "0":
            color = PAPER_ON_BLUE if value > 0.7 else INK
            ax.text(predicted, true, shown, ha="center", va="center", color=color, fontsize=9)


PAPER_ON_BLUE = "#fefefe"  # white in light and dark alike, so not PAPER


def short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


@drawn
def class_accuracy(per_class: Sequence[Mapping[str, Any]]) -> Plot:
    """The classes with images, worst first; of many only the worst."""
    ranked = sorted((c for c in per_class if c["support"]), key=lambda c: c["accuracy"])
    shown = ranked[:MOST_BARS]
    ax = axes(330, 70 + 17 * len(shown))
    ax.barh(range(len(shown)), [c["accuracy"] for c in shown], color=BLUE, height=0.72)
    ax.set_yticks(range(len(shown)), [short(c["class"]) for c in shown])
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.margins(y=0.02)
    ax.grid(axis="y", visible=False)
    percent_axis(ax.xaxis)
    ax.set_title(f"Accuracy, {len(shown)} lowest classes" if len(shown) < len(ranked) else "Accuracy by class")
    worst = f"lowest {shown[0]['class']} with {show_percent(shown[0]['accuracy'], 1)}"
    return Plot("classes", f"Accuracy by class, {worst}", figure_of(ax))


def measure(name: str, value: float) -> str:
    """Of a budget, short enough for a picture."""
    if name == "size_mb":
        return f"{value:.4f} MB"
    return show_bytes(value) if name.endswith("bytes") else show_count(value)


@drawn
def budget_bars(used: Mapping[str, float], allowed: Mapping[str, float]) -> Plot:
    """A bar for each limit, in percent of it."""
    ax = axes(320, 36 + 36 * len(allowed))
    shares = [used[name] / limit for name, limit in allowed.items()]
    for place, (name, limit) in enumerate(allowed.items()):
        share = shares[place]
        ax.barh(place, 1, color=GRID, height=0.4)
        ax.barh(place, share, color=BLUE if share <= 1 else ORANGE, height=0.4)
        ax.plot([1, 1], [place - 0.28, place + 0.28], color=INK)
        text = f"{name}: {measure(name, used[name])} of {measure(name, limit)} ({show_percent(share, 1)})"
        ax.text(0, place - 0.3, text, va="bottom")
    ax.set_ylim(len(allowed) - 0.6, -0.9)
    ax.set_xlim(0, max(1.005, *shares))
    ax.axis("off")
    words = ", ".join(f"{name} {show_percent(share, 1)}" for name, share in zip(allowed, shares, strict=True))
    return Plot("budget", f"Used of the budget: {words}", figure_of(ax))


def by_part(layers: Sequence[Mapping[str, Any]], key: str) -> dict[str, int]:
    """The cost of stem, stages and head; a layer `stages.0.1.body.conv1` is of stage 1."""
    totals: dict[str, int] = {}
    for layer in layers:
        first, _, rest = layer["name"].partition(".")
        part = f"stage {int(rest.partition('.')[0]) + 1}" if first == "stages" else first
        totals[part] = totals.get(part, 0) + layer[key]
    return totals


@drawn
def cost_bars(layers: Sequence[Mapping[str, Any]]) -> Plot:
    """The shares of each part of the net in parameters and multiply-adds."""
    ax = axes(320, 84 + 32 * len(by_part(layers, "params")))
    told = []
    for offset, key, name, color in ((-0.2, "params", "parameters", BLUE), (0.2, "macs", "multiply-adds", ORANGE)):
        parts = by_part(layers, key)
        shares = [value / max(1, sum(parts.values())) for value in parts.values()]
        places = [place + offset for place in range(len(parts))]
        ax.barh(places, shares, height=0.36, color=color, label=name)
        for place, share in zip(places, shares, strict=True):
            ax.text(share, place, f" {show_percent(share, 1)}", va="center", fontsize=9)
        most = max(range(len(shares)), key=shares.__getitem__)
        told.append(f"most {name} in {list(parts)[most]}, {show_percent(shares[most], 1)}")
        ax.set_yticks(range(len(parts)), [short(part) for part in parts])
        ax.set_xlim(0, max(ax.get_xlim()[1], 1.25 * max(shares)))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    percent_axis(ax.xaxis)
    ax.set_title("Cost by part")
    below(ax)
    return Plot("costs", f"Cost by part of the net: {'; '.join(told)}", figure_of(ax))


@drawn
def calibration_plot(logits: Tensor, labels: Tensor, ece: float) -> Plot:
    count, confidence, accuracy = (part.numpy() for part in calibration(logits, labels))
    held = count > 0
    ax = axes(320, 310)
    ax.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":", label="ideal")
    ax.plot(confidence[held], accuracy[held], color=BLUE, linewidth=1.2)
    ax.scatter(confidence[held], accuracy[held], s=12 + 160 * count[held] / count.sum(), color=BLUE, label="seen")
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(0, 1.03))
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)
    below(ax)
    ax.set_title(f"Calibration, error {show_percent(ece)}")
    alt = f"Accuracy by confidence; expected calibration error {show_percent(ece)}"
    return Plot("calibration", alt, figure_of(ax))
