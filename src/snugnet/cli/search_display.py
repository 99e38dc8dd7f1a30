"""What a search shows: a live table on a terminal, a plain line a trial elsewhere, and the front at its end."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.table import Table

from snugnet import units
from snugnet.cli.console import errors, escape, is_live

if TYPE_CHECKING:
    from snugnet.search.progress import Progress

SHOWN = 8  # trials in the live table
ENDED = ("done", "failed", "same", "invalid")


class Watching:
    """Told of a study whenever it has changed; shows the best so far, what is at work, and the time left."""

    def __init__(self, progress: Progress, workers: int) -> None:
        self._workers, self._started = workers, time.monotonic()
        self._before = self._ended(progress)
        self._told = set(self._before)
        self._live = Live(console=errors, auto_refresh=False) if is_live() else None
        errors.print(opening(progress, workers), soft_wrap=True, markup=False)

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def __call__(self, progress: Progress) -> None:
        ended = self._ended(progress)
        left = self._left(progress, len(ended - self._before))
        if self._live:
            self._live.update(self._table(progress, left), refresh=True)
        else:
            for number, _ in sorted(ended - self._told):
                errors.print(f"{trial_line(progress, number)}  {left} left", soft_wrap=True, markup=False)
        self._told |= ended

    def _ended(self, progress: Progress) -> set[tuple[int, str]]:
        """Trials that have come to an end, or to a rung; those over the budget are counted at the end alone."""
        states = [(trial.number, progress.state(trial)) for trial in progress.trials]
        return {(number, state) for number, state in states if state.startswith((*ENDED, "rung"))}

    def _left(self, progress: Progress, done: int) -> str:
        """By the speed of this session; "…" while nothing is known."""
        wanted, limit = progress.missing, progress.study.config.time
        lefts = [] if limit is None else [max(0.0, limit - progress.seconds) / self._workers]
        if done and wanted is not None:
            lefts.append(wanted * (time.monotonic() - self._started) / done)
        return units.show_seconds(min(lefts)) if lefts else "…"

    def _table(self, progress: Progress, left: str) -> Table:
        table = front_table(progress, SHOWN)
        at_work = [str(job.trial) for job in progress.jobs if job.state == "running"]
        working = f"training: {', '.join(at_work) or '–'}"
        table.caption = f"{words(progress)}\n{working} · {left} left · Ctrl-C stops, and the same command goes on"
        return table


def opening(progress: Progress, workers: int) -> str:
    study = progress.study
    limits = ", ".join(f"{name} {limit:,}" for name, limit in study.budget.limits().items()) or "none"
    known = f", {len(progress.trials)} trials so far" if progress.trials else ""
    return (
        f"{study.name}: {study.config.method.name} over {len(study.space.axes)} keys of {study.config.base}, budget "
        f"{limits}, {workers} worker{'s' if workers > 1 else ''}{known}"
    )


def trial_line(progress: Progress, number: int) -> str:
    from snugnet.search.show import shown

    trial = progress.trials[number]
    values = ", ".join(f"{name} {shown(name, value)}" for name, value in progress.values(trial).items())
    note = next((job.note for job in progress.jobs_of[number] if job.note), trial.note)
    star = "  ★ best so far" if progress.best == number else ""
    return f"trial {number}  {progress.state(trial)}  {values}{f'  {note}' if note else ''}{star}"


def front_table(progress: Progress, most: int | None = None) -> Table:
    """The designs that no other beats, the best first."""
    from snugnet.search.show import short_keys, shown, shown_value

    study = progress.study
    names = short_keys([axis.key for axis in study.space.axes])
    title = "best" if len(study.config.objectives) == 1 else "front: what no other design beats"
    table = Table(title=escape(f"{study.name}, {title}"))
    table.add_column("trial", justify="right")
    for name in study.config.objectives:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("design", overflow="fold")
    for number in progress.front[:most]:
        trial, values = progress.trials[number], progress.finished[number]
        point = ", ".join(f"{names[key]} {shown_value(value)}" for key, value in trial.point.items())
        table.add_row(str(number), *(shown(name, values[name]) for name in study.config.objectives), escape(point))
    return table


def words(progress: Progress) -> str:
    """How many trials, and what became of them."""
    counts = ", ".join(f"{count} {name}" for name, count in progress.counts().items())
    return f"{len(progress.trials)} trials: {counts}; {units.show_seconds(progress.seconds)} of training"
