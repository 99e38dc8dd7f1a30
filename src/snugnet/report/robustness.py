"""The picture of what corruptions cost a net."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_rgb

from snugnet.files import write_bytes
from snugnet.report.plots import percent_axis
from snugnet.report.style import BLUE, INK, Plot, axes, drawn, figure_of
from snugnet.units import show_percent

SHADES = (0.25, 0.4, 0.55, 0.75, 1.0)  # of the bars, mildest first
ROOM = 0.82  # of a row, for its five bars


@drawn
def corruption_bars(found: Mapping[str, Any]) -> Plot:
    """Accuracy under each corruption, five bars from mild to strong, and the clean images' as a line."""
    rows = found["corruptions"]
    ax = axes(360, 75 + 30 * len(rows))
    for strength, shade in enumerate(SHADES):
        places = [row + ROOM * ((strength + 0.5) / len(SHADES) - 0.5) for row in range(len(rows))]
        values = [row["accuracy"][strength] for row in rows]
        colour = (*to_rgb(BLUE), shade)
        ax.barh(places, values, height=ROOM / len(SHADES), color=colour, label=f"{strength + 1}")
    ax.axvline(found["clean"], color=INK, linewidth=1, linestyle="--", label="clean")
    ax.set_yticks(range(len(rows)), [row["name"].replace("_", " ") for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.grid(axis="y", visible=False)
    percent_axis(ax.xaxis)
    ax.set_title(f"Accuracy under corruption, mean {show_percent(found['mean'], 1)}")
    figure_of(ax).legend(loc="outside lower left", ncols=6, title="strength", columnspacing=1, handlelength=1.2)
    worst = min(rows, key=lambda row: row["mean"])
    alt = (
        f"Accuracy under {len(rows)} corruptions at five strengths: {show_percent(found['mean'])} in the mean, "
        f"{show_percent(found['clean'])} clean, lowest {worst['name']} with {show_percent(worst['mean'])}"
    )
    return Plot("corruption", alt, figure_of(ax))


def save_both(plot: Plot, folder: Path) -> list[Path]:
    """As PNG and as an SVG file of its own: the same bytes each time. Raises StorageError."""
    path = folder / f"{plot.name}.svg"
    salt: Any = {"svg.hashsalt": plot.name}  # Any: matplotlib types the keys, each version its own
    with mpl.rc_context(salt):
        write_bytes(path, plot.render("svg", metadata={"Date": None, "Creator": None}))
    return [plot.save(folder), path]
