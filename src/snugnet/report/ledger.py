"""results/ledger.jsonl, a line a recorded run, and the Markdown table of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, TypeVar

from pydantic import AfterValidator, ValidationError

from snugnet.config import Frozen
from snugnet.errors import DataError
from snugnet.problems import shortened
from snugnet.units import show_bytes, show_count, show_seconds

HEAD = "| recipe | epochs | n | test accuracy, % | parameters | bytes | MACs | time | hardware | date |"
RULE = "|---|--:|--:|--:|--:|--:|--:|--:|---|---|"


def _in_english(hardware: str) -> str:
    """Older lines have "1 threads"; a row holds them and the newer ones alike."""
    return re.sub(r"\b1 threads", "1 thread", hardware)


F = TypeVar("F", bound=Frozen)


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
    hardware: Annotated[str, AfterValidator(_in_english)]
    precision: str = ""
    trained_on: str = "train"
    date: str
    command: str
    size_mb: float | None = None  # tu24's formula
    p50_ms: float | None = None  # of one image, as `snug bench --record` measured it
    latency: str = ""  # by which protocol


def read_ledger(path: Path) -> list[Entry]:
    """All entries in their order. Raises DataError with file and line of the first that is damaged."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}): restore it from version control") from error
    return [read_line(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def read_list(path: Path, kind: type[F]) -> F:
    """A TOML file that stands beside the ledger. Raises DataError with its first fault."""
    try:
        return kind.parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {place}: {first['msg']}: restore it from version control") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}): restore it from version control") from error


def read_line(line: str, place: str) -> Entry:
    try:
        return Entry.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"])) or "line"
        raise DataError(f"{place}: {shortened(what)}: {first['msg']}: restore the line from version control") from error


def table(entries: Sequence[Entry]) -> str:
    """A row a recipe, its text, epochs and hardware: the seeds' mean and sample standard deviation."""
    return "\n".join([HEAD, RULE, *(table_line(row(runs)) for runs in rows(entries))]) + "\n"


def table_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def rows(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The runs of each row. A seed recorded twice counts by its later line."""
    groups = groupby(sorted(entries, key=identity), key=identity)
    return [list({entry.seed: entry for entry in group}.values()) for _, group in groups]


def identity(entry: Entry) -> tuple[str, int, str, str]:
    return entry.recipe, entry.epochs, entry.recipe_sha256, entry.hardware


def row(runs: Sequence[Entry]) -> Sequence[str]:
    last = max(runs, key=lambda run: run.date)
    return (
        f"`{last.recipe}`", str(last.epochs), str(len(runs)), accuracy(runs), show_count(last.params),
        show_bytes(last.bytes), show_count(last.macs), mean_time(runs), last.hardware, last.date[:10],
    )  # fmt: skip


def mean_time(runs: Sequence[Entry]) -> str:
    return show_seconds(fmean(run.seconds for run in runs))


def percents(runs: Sequence[Entry]) -> list[float]:
    """Test accuracies; none where a run was not tested."""
    values = [100 * run.test for run in runs if run.test is not None]
    return values if len(values) == len(runs) else []


def accuracy(runs: Sequence[Entry]) -> str:
    """Percent; a dash where a run was not tested."""
    values = percents(runs)
    if not values:
        return "–"
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
