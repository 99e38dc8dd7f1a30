"""The winner of a study as a recipe that stands alone, with where it came from."""

from __future__ import annotations

from pathlib import Path

from snugnet import files
from snugnet.errors import UsageError
from snugnet.search.designs import recipe_of, text_of
from snugnet.search.progress import Progress
from snugnet.search.show import shown


def write_best(progress: Progress, path: Path, number: int | None = None) -> Path:
    """The best trial, or that of a number, as a recipe. Raises UsageError where none is finished, StorageError."""
    study, chosen = progress.study, progress.best if number is None else number
    if chosen is None:
        raise UsageError(f"--best {path}: no trial of {study.name} is finished yet, so there is no best one")
    trial = progress.trials[chosen]
    values = progress.values(trial)
    found = ", ".join(f"{name} {shown(name, value)}" for name, value in values.items())
    many = f", mean of {study.config.seeds} seeds" if study.config.seeds > 1 else ""
    names = " and ".join(study.config.objectives)
    place = f"trial {chosen}, the best of {len(progress.finished)} in {names}"
    told = {
        "purpose": f"{study.config.purpose or 'found by snug search'}: {place}",
        "source": f"snug search {study.name} ({study.config.method.name}, study {study.digest[:12]}), from "
        f"{study.config.base}; {found} on val{many}",
        "command": f"snug train {path}",
    }
    files.write_text(path, text_of(recipe_of(study, trial).experiment, **told))
    return path
