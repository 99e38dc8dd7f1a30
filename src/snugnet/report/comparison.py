"""One self-contained HTML page about a comparison."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from snugnet.compare import Comparison
from snugnet.compare.tables import reached_targets, shown_speed
from snugnet.report.comparison_plots import comparison_plots
from snugnet.report.page import write_page
from snugnet.units import show_flops


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Raises StorageError."""
    drawn = list(comparison_plots(comparison))
    values = {
        "comparison": comparison,
        "fronts": [Markup(plot.svg()) for plot in drawn if plot.name.startswith("pareto")],
        "curves": [Markup(plot.svg()) for plot in drawn if not plot.name.startswith("pareto")],
        "speed": shown_speed(comparison),
        "places": reached_targets(comparison),
        "show_flops": show_flops,
    }
    return write_page("compare.html.j2", values, path)
