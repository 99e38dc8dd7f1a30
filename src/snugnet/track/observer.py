"""Tells trackers of a training, as far as they have not been told yet.

What each was told stands in the run directory, so that a resumed run goes on in the same tracked run: epochs that a
tracker missed are told from the metrics on record, and those it knows are not told again. A tracker that fails is let
go with a note: nothing it does stops the training.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from snugnet import runs
from snugnet.errors import Interrupted
from snugnet.pipeline import Controls
from snugnet.runs import RunRecord
from snugnet.track import facts
from snugnet.track.facts import About, Backend, Ending
from snugnet.train.loop import Epoch, Step

SILENT = {  # what would go over the network unasked, or crowd the terminal; the user's own setting stays
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "WANDB_ERROR_REPORTING": "false",
}


def along(
    names: Iterable[str], path: Path, controls: Controls, training: Callable[[Controls], dict[str, Any]]
) -> dict[str, Any]:
    """The summary of a training in `path`, of which the trackers are told. Of several processes the first one tells."""
    wanted = tuple(names)
    if not wanted or not controls.processes.leads:
        return training(controls)

    with Trackers(wanted, path, controls.warn) as trackers:

        def observe(progress: Step | Epoch) -> None:
            controls.observe(progress)
            trackers(progress)

        summary = training(replace(controls, observe=observe))
        trackers.finish(summary)
    return summary


def recorded(path: Path) -> tuple[str, ...]:
    """The trackers of a run, or of several seeds."""
    return tuple(dict.fromkeys(name for member in runs.members(path) for name in runs.tracking(member)))


class Trackers:
    """The trackers of one run, opened when there is something to tell: the run directory is there by then."""

    def __init__(self, names: Iterable[str], path: Path, warn: Callable[[str], None]) -> None:
        self._names, self._path, self._warn = list(names), path, warn
        self._backends: dict[str, Backend] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._is_open = False

    def __call__(self, progress: Step | Epoch) -> None:
        self._require_open()
        if isinstance(progress, Epoch):
            line = progress.line()
            self._each(lambda name: self._tell(name, line))

    def finish(self, summary: dict[str, Any]) -> None:
        """Tells what became of the run, whoever does not know it yet."""
        known = runs.tracking(self._path)
        self._names = [name for name in self._names if not known.get(name, {}).get("finished")]
        if self._names:
            self._require_open()
        self._each(lambda name: self._tell_final(name, summary))

    def _require_open(self) -> None:
        if self._is_open:
            return
        self._is_open = True
        for variable, value in SILENT.items():
            os.environ.setdefault(variable, value)
        record, self._told = runs.read(self._path), runs.tracking(self._path)
        for name in self._names:
            self._told.setdefault(name, {"id": None, "epoch": 0, "finished": False})
        runs.save_tracking(self._path, self._told)
        self._each(lambda name: self._open(name, record))

    def _open(self, name: str, record: RunRecord) -> None:
        told = self._told[name]
        make = importlib.import_module(f"snugnet.track.{name}").Run
        backend = self._backends[name] = make(_about(record, told["epoch"]), told["id"])
        told["id"] = backend.id
        runs.save_tracking(self._path, self._told)
        for line in record.metrics:
            self._tell(name, line)

    def _tell(self, name: str, line: dict[str, Any]) -> None:
        told = self._told[name]
        if line["epoch"] > told["epoch"]:
            self._backends[name].epoch(line["epoch"], facts.of_epoch(line))
            told["epoch"] = line["epoch"]
            runs.save_tracking(self._path, self._told)

    def _tell_final(self, name: str, summary: dict[str, Any]) -> None:
        self._backends[name].final(self._told[name]["epoch"], facts.of_summary(summary))
        self._told[name]["finished"] = True
        runs.save_tracking(self._path, self._told)

    def _each(self, action: Callable[[str], None]) -> None:
        """Does it for every tracker, and lets go of those that fail, whatever they raise."""
        for name in [*self._names]:
            try:
                action(name)
            except Exception as error:  # of code that is not ours
                self._names.remove(name)
                backend = self._backends.pop(name, None)
                reason = " ".join(str(error).split())[:200]
                self._warn(
                    f"{name}: tracking ends here ({type(error).__name__}: {reason}); the training goes on, and "
                    f"`snug resume {self._path}` tells {name} what it missed"
                )
                with contextlib.suppress(Exception):
                    if backend is not None:
                        backend.close("failed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, (Interrupted, KeyboardInterrupt))
        ending: Ending = "finished" if kind is None else "stopped" if stopped else "failed"
        self._names = [*self._backends]
        self._each(lambda name: self._backends[name].close(ending))


def _about(record: RunRecord, epochs: int) -> About:
    folder = record.path.resolve()
    group = folder.parent.name if runs.read_group(record.path.parent) else ""
    name = f"{group}/{folder.name}" if group else folder.name
    return About(folder, name, group, facts.flat(record.experiment.plain()), epochs)
