"""results/ledger.jsonl, a line a recorded run, and the Markdown tables made from it.

A document shows a table between `<!-- ledger: NAME -->` and `<!-- /ledger -->`, each on a line of its own; NAME is
`all` or a pattern over recipe names, such as `snugnet/*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev

from pydantic import ValidationError

from snugnet.config import Frozen
from snugnet.errors import DataError
from snugnet.units import show_bytes, show_count, show_seconds

OPENING = re.compile(r"<!-- ledger: (\S+) -->")
CLOSING = "<!-- /ledger -->"
HEAD = "| recipe | epochs | n | test accuracy, % | parameters | bytes | MACs | time | hardware | date |"
RULE = "|---|--:|--:|--:|--:|--:|--:|--:|---|---|"


class Entry(Frozen):
    """A recorded run; accuracies are fractions."""

    recipe: str
    recipe_sha256: str
    commit: str
    seed: int
    epochs: int
    params: int
    macs: int
    bytes: int
    weights: str
    val: float | None = None
    test: float | None = None
    tta_test: float | None = None
    seconds: float
    hardware: str
    precision: str = ""
    trained_on: str = "train"
    date: str
    command: str


def read_ledger(path: Path) -> list[Entry]:
    """All entries in their order. Raises DataError with file and line of the first that is damaged."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}): restore it from version control") from error
    return [read_line(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def read_line(line: str, place: str) -> Entry:
    try:
        return Entry.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"])) or "line"
        raise DataError(f"{place}: {what}: {first['msg']}: restore the line from version control") from error


def render_blocks(text: str, ledger: Sequence[Entry], document: str = "README.md") -> str:
    """`text` with every block filled anew. Raises DataError for a block unclosed or without a recorded recipe."""
    out: list[str] = []
    opened = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if match := OPENING.fullmatch(line.strip()):
            if opened:
                raise unclosed(document, opened)
            opened = number
            out += [line, table(ledger, match[1], f"{document}:{number}")]
        elif line.strip() == CLOSING:
            if not opened:
                raise DataError(
                    f"{document}:{number}: `{CLOSING}` closes nothing: write `<!-- ledger: NAME -->` above it"
                )
            opened = 0
            out.append(line)
        elif "<!-- ledger" in line:
            raise DataError(
                f"{document}:{number}: a marker must be `<!-- ledger: NAME -->`; got `{line.strip()}`: mend it"
            )
        elif not opened:
            out.append(line)
    if opened:
        raise unclosed(document, opened)
    return "".join(out)


def unclosed(document: str, number: int) -> DataError:
    return DataError(f"{document}:{number}: the ledger block is not closed: write `{CLOSING}` below it")


def table(ledger: Sequence[Entry], name: str, place: str) -> str:
    """A row a recipe, its text, epochs and hardware: the seeds' mean and sample standard deviation."""
    entries = [entry for entry in ledger if name == "all" or fnmatchcase(entry.recipe, name)]
    if not entries and name != "all":
        known = ", ".join(sorted({entry.recipe for entry in ledger})) or "none yet"
        raise DataError(f"{place}: no recorded recipe matches `{name}`: use `all` or one of {known}")
    ordered = sorted(entries, key=identity)
    rows = [row(list(group)) for _, group in groupby(ordered, key=identity)]
    return "\n".join([HEAD, RULE, *rows]) + "\n" if rows else "No run is recorded yet.\n"


def identity(entry: Entry) -> tuple[str, int, str, str]:
    return entry.recipe, entry.epochs, entry.recipe_sha256, entry.hardware


def row(entries: Iterable[Entry]) -> str:
    """A seed recorded twice counts by its later line."""
    runs = list({entry.seed: entry for entry in entries}.values())
    last = max(runs, key=lambda run: run.date)
    cells = (
        f"`{last.recipe}`", str(last.epochs), str(len(runs)), accuracy(runs), show_count(last.params),
        show_bytes(last.bytes), show_count(last.macs), show_seconds(fmean(run.seconds for run in runs)), last.hardware,
        last.date[:10],
    )  # fmt: skip
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def accuracy(runs: Sequence[Entry]) -> str:
    """Percent; a dash where a run was not tested."""
    values = [100 * run.test for run in runs if run.test is not None]
    if len(values) < len(runs):
        return "–"
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
