"""Accuracy against parameters of everything there is a number for: ours, the papers', the literature's."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

from matplotlib.ticker import FuncFormatter, NullFormatter
from PIL import Image
from pydantic import Field

from snugnet import budget, files, pipeline, recipe
from snugnet.config import Frozen
from snugnet.report.ledger import Entry, percents, read_list, rows
from snugnet.report.plots import percent_axis
from snugnet.report.style import BLUE, GREEN, ORANGE, PAPER, Plot, axes, drawn, figure_of
from snugnet.units import show_count

MARKS = {
    "ours, measured": (BLUE, "D", BLUE),
    "the five papers', as printed": (ORANGE, "o", PAPER),
    "the literature's, as printed": (GREEN, "s", PAPER),
}
OURS, PAPERS, LITERATURE = MARKS
SMALL = 200_000  # parameters; names stand on the right of such a net, where there is room
CLOSE = 0.2  # in the logarithm of parameters, and in tenths of accuracy
DATA = "snugnet:points"  # the key in the picture's file that tells which points it shows


class Net(Frozen):
    """A line of results/literature.toml."""

    name: str
    params: Annotated[int, Field(gt=0)]
    accuracy: Annotated[float, Field(gt=0, lt=1)]
    source: str


class Literature(Frozen):
    net: tuple[Net, ...]


@dataclass(frozen=True)
class Point:
    kind: str
    name: str
    params: int
    accuracy: float


def points(entries: Sequence[Entry], literature: Path) -> list[Point]:
    """Raises DataError for a file of the literature that cannot be read."""
    return [*_ours(entries), *_papers(), *_literature(literature)]


def _ours(entries: Sequence[Entry]) -> list[Point]:
    found = [(runs, percents(runs)) for runs in rows(entries)]
    return [Point(OURS, runs[0].recipe, runs[0].params, fmean(tested) / 100) for runs, tested in found if tested]


def _papers() -> list[Point]:
    found = []
    for name in recipe.builtin_names():
        experiment = recipe.load(name).experiment
        if experiment.published and experiment.published.accuracy is not None:
            params = int(budget.measure(pipeline.planned_card(experiment), "params"))
            found.append(Point(PAPERS, name, params, experiment.published.accuracy))
    return found


def _literature(path: Path) -> list[Point]:
    return [Point(LITERATURE, net.name, net.params, net.accuracy) for net in read_list(path, Literature).net]


def digest(found: Sequence[Point]) -> str:
    return hashlib.sha256(json.dumps([asdict(point) for point in found]).encode()).hexdigest()


def shown(picture: Path) -> str | None:
    """The digest of the points that a picture shows."""
    with Image.open(picture) as image:
        found = image.info.get(DATA)
    return str(found) if found else None


def save(found: Sequence[Point], path: Path) -> None:
    files.write_bytes(path, plot(found).render("png", dpi=160, metadata={"Software": None, DATA: digest(found)}))


@drawn
def plot(found: Sequence[Point]) -> Plot:
    ax = axes(560, 330)
    ax.set_xscale("log")
    for kind, (color, marker, face) in MARKS.items():
        of_kind = [(point.params, point.accuracy) for point in found if point.kind == kind]
        if of_kind:
            params, accuracies = zip(*of_kind, strict=True)
            ax.scatter(params, accuracies, s=34, marker=marker, facecolor=face, edgecolor=color, label=kind)
    named = [
        point
        for point in found
        if point.kind == LITERATURE or (point.kind == OURS and point.name.startswith("snugnet/"))
    ]
    for point in named:
        name, is_small = point.name.removeprefix("snugnet/"), point.params < SMALL
        height = -11 if point.kind == OURS or _is_below(point, named) else 4
        place, align = ((7, height), "left") if point.kind == OURS or is_small else ((-7, height), "right")
        ax.annotate(name, (point.params, point.accuracy), place, textcoords="offset points", ha=align, fontsize=8)
    ax.set(xlabel="parameters", ylabel="CIFAR-10 test accuracy", title="Accuracy against parameters")
    ax.margins(x=0.1, y=0.08)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show_count(int(value))))
    ax.xaxis.set_minor_formatter(NullFormatter())
    percent_axis(ax.yaxis)
    figure_of(ax).legend(loc="outside lower center", ncols=3)
    best = max((point for point in found if point.kind == OURS), key=lambda point: point.accuracy, default=None)
    words = f"; our best: {best.name}, {100 * best.accuracy:.2f} %" if best else ""
    return Plot("accuracy", f"Accuracy against parameters of {len(found)} nets{words}", figure_of(ax))


def _is_below(point: Point, others: Sequence[Point]) -> bool:
    """Whether another name stands where this one's would: hard by, and a little higher."""
    return any(
        abs(math.log(each.params / point.params)) < CLOSE and 0 < each.accuracy - point.accuracy < CLOSE / 10
        for each in others
    )
