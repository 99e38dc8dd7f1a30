"""One self-contained HTML page about a search: what it found, how it went, every trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from snugnet.errors import MissingExtra
from snugnet.report import study_plots
from snugnet.report.page import write_page
from snugnet.search.methods import importances
from snugnet.search.progress import Progress
from snugnet.search.show import short_keys, shown, shown_value


def write_study(progress: Progress, path: Path) -> Path:
    """Raises StorageError."""
    study = progress.study
    objectives = study.config.objectives
    names = short_keys([axis.key for axis in study.space.axes])
    shares = weighed(progress)
    plots = []
    if progress.finished:
        plots = [study_plots.history(progress), *(study_plots.front_plot(progress, name) for name in objectives[1:])]
        plots += [study_plots.importance_bars(shares, objectives[0])] if shares else []
    values = {
        "study": study.config,
        "base": study.config.base,
        "digest": study.digest,
        "progress": progress,
        "counts": progress.counts(),
        "objectives": objectives,
        "axes": [(axis.key, names[axis.key], told(axis)) for axis in study.space.axes],
        "limits": study.budget.limits(),
        "epochs": study.rung_epochs,
        "rows": [row(progress, number, names) for number in range(len(progress.trials))],
        "best": None if progress.best is None else row(progress, progress.best, names),
        "plots": [Markup(plot.svg()) for plot in plots],
        "parallel": Markup(study_plots.parallel(progress).svg()) if progress.finished else None,
        "text": study.text,
    }
    return write_page("study.html.j2", values, path)


def weighed(progress: Progress) -> dict[str, float]:
    """Importances; none where Optuna is not there, which a grid does without."""
    try:
        return importances(progress.study, progress.known())
    except MissingExtra:
        return {}


def row(progress: Progress, number: int, names: dict[str, str]) -> dict[str, Any]:
    found, trial = progress.row(progress.trials[number]), progress.trials[number]
    return found | {
        "front": number in progress.front,
        "choices": {key: shown_value(trial.point[key]) if key in trial.point else "–" for key in names},
        "shown": {name: shown(name, value) for name, value in found["values"].items()},
    }


def told(axis: Any) -> str:
    """What a key may be, in words."""
    each = axis.dimension
    if each.choices is not None:
        words = ", ".join(map(shown_value, each.choices))
    else:
        words = f"{each.start:g} to {each.to:g}" + (", by proportion" if each.log else "")
        words += f", steps of {each.step:g}" if each.step else f", {each.points} values" if each.points else ""
    conditions = [f"{key} is {' or '.join(map(shown_value, allowed))}" for key, allowed in axis.when.items()]
    return words + (f"; where {' and '.join(conditions)}" if conditions else "")
