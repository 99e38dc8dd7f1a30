"""What runs there are: runs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from snugnet import units
from snugnet.cli.console import Json, errors, escape, out, print_json
from snugnet.errors import UsageError

if TYPE_CHECKING:
    from snugnet.inventory import Entry


def register(app: typer.Typer) -> None:
    app.command()(runs)


def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, at any depth.")] = Path("runs"),
    find: Annotated[str, typer.Option(metavar="WORDS", help="Only runs whose path or recipe holds this.")] = "",
    state: Annotated[str | None, typer.Option(help="Only finished, unfinished, running or damaged ones.")] = None,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Remove the checkpoints of finished runs, which no command needs; asks first."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """The runs under a folder: state, accuracy, size of the shipped file, and what they take on the disk.

    Example: snug runs --state unfinished
    """
    from snugnet import inventory
    from snugnet.problems import nearest

    if state is not None and state not in inventory.STATES:
        known = ", ".join(inventory.STATES)
        raise UsageError(f"--state {state}: must be one of {known}{nearest(state, inventory.STATES)}")
    if not folder.is_dir():
        raise UsageError(f"{folder}: must be a folder that holds runs, and is none; give another")
    entries = [entry for entry in inventory.find(folder, find) if state in (None, entry.state)]
    done = [entry for entry in entries if entry.state == "finished" and entry.checkpoint_bytes]
    freed = _cleaned(done, asked=yes, as_json=as_json) if clean else None
    if as_json:
        return print_json({"runs": [entry.plain() for entry in entries], "freed_bytes": freed})
    _print(entries, folder)
    if freed is not None:
        return out.print(f"{units.show_bytes(freed)} are free again")
    if done:
        held = units.show_bytes(sum(entry.checkpoint_bytes for entry in done))
        out.print(
            f"Checkpoints of finished runs take {held}, and no command needs them: snug runs {folder} --clean",
            markup=False,
            soft_wrap=True,
        )
    return None


def _cleaned(done: Sequence[Entry], *, asked: bool, as_json: bool) -> int:
    """The bytes that are free again, once the user agreed. Raises UsageError where nobody can be asked."""
    from snugnet.runs import drop_checkpoints

    held = units.show_bytes(sum(entry.checkpoint_bytes for entry in done))
    which = f"the checkpoints of {len(done)} finished run{'s' * (len(done) != 1)} ({held})"
    question = f"Remove {which}? Weights, scores and reports stay."
    if done and not asked:
        if as_json or not sys.stdin.isatty():
            raise UsageError(f"--clean: would remove {which}; agree by --yes")
        if not typer.confirm(question, err=True):
            errors.print("Nothing is removed")
            return 0
    return sum(drop_checkpoints(entry.path) for entry in done)


def _print(entries: Sequence[Entry], folder: Path) -> None:
    if not entries:
        return out.print(f"no runs in {folder}", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in ("run", "recipe"):
        table.add_column(column, overflow="fold")
    for column in ("state", "epochs", "accuracy", "file", "disk"):
        table.add_column(column, justify="left" if column == "state" else "right", no_wrap=True)
    for entry in entries:
        table.add_row(*_row(entry))
    out.print(table)
    for entry in entries:
        if entry.note:
            out.print(f"{entry.path}: {entry.note}", markup=False, soft_wrap=True)
    counted = Counter(entry.state for entry in entries)
    out.print(", ".join(f"{count} {state}" for state, count in counted.most_common()))
    if waiting := next((entry for entry in entries if entry.state == "unfinished"), None):
        out.print(f"Next:   snug resume {waiting.path}", markup=False, soft_wrap=True)
    return None


def _row(entry: Entry) -> list[str]:
    colours: dict[str, Any] = {"finished": "green", "unfinished": "yellow", "running": "cyan", "damaged": "red"}
    return [
        escape(entry.path),
        escape(entry.recipe),
        f"[{colours[entry.state]}]{entry.state}[/]",
        "" if entry.epochs is None else f"{entry.epoch}/{entry.epochs}",
        "" if entry.accuracy is None else units.show_percent(entry.accuracy),
        "" if entry.bytes is None else units.show_bytes(entry.bytes),
        units.show_bytes(entry.disk_bytes),
    ]
