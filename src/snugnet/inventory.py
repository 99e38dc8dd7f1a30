"""What runs lie under a folder, in which state they are, and what of them may go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from snugnet import runs
from snugnet.errors import SnugError
from snugnet.runs import Run, RunRecord

State = Literal["finished", "unfinished", "running", "damaged"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Entry:
    """A run. `accuracy` is the shipped file's on test, else on val; before there is one, the last epoch's on val.
    `checkpoint_bytes` are needed only to go on; `note` says what is damaged."""

    path: Path
    state: State
    recipe: str
    seed: int | None
    epoch: int
    epochs: int | None
    accuracy: float | None
    bytes: int | None
    disk_bytes: int
    checkpoint_bytes: int
    note: str = ""

    def plain(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path)}


def find(root: Path, words: str = "") -> Iterator[Entry]:
    """The runs in a folder, at any depth, with `words` in path or recipe; hidden folders and links are passed by."""
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if {"config.json", "recipe.toml"} <= set(names):
            found = look(Path(folder))
            if words.casefold() in f"{found.path} {found.recipe}".casefold():
                yield found


def look(path: Path) -> Entry:
    """One run, as it is at this moment."""
    kept = sum(_bytes(file) for file in runs.checkpoints(path))
    disk = sum(_bytes(file) for file in path.rglob("*"))
    try:
        record = runs.read(path)
        experiment = record.experiment
        state, note = _state(record)
    except (SnugError, OSError) as error:
        return Entry(path, "damaged", "", None, 0, None, None, None, disk, kept, str(error))
    summary, lines = record.summary, record.metrics
    last = lines[-1].get("val_accuracy") if lines else None
    measured = next((summary[name] for name in ("test", "val") if summary.get(name) is not None), last)
    return Entry(
        path=path,
        state=state,
        recipe=experiment.name,
        seed=experiment.seed,
        epoch=len(lines),
        epochs=experiment.train.epochs,
        accuracy=measured,
        bytes=summary.get("bytes"),
        disk_bytes=disk,
        checkpoint_bytes=kept,
        note=note,
    )


def _state(record: RunRecord) -> tuple[State, str]:
    """Raises ArtifactError where the run cannot be gone on with or used."""
    path = record.path
    if runs.is_held(path):
        return "running", ""
    if not record.summary:
        run = Run.open(path)
        run.state()
        return "unfinished", run.fell_back
    shipped, size = path / "model.safetensors", record.summary.get("bytes")
    seen = _bytes(shipped)
    if seen != size:
        return "damaged", f"{shipped}: must be {size:,} B, and is {seen:,} B; copy or train it again"
    return "finished", ""


def _bytes(file: Path) -> int:
    """0 of what is no file, or has just gone."""
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:
        return 0
