"""The generated parts of documents.

A table stands between `<!-- KIND: NAME -->` and `<!-- /KIND -->`, each on a line of its own. KIND is `ledger`, `papers`
for ours beside theirs, or `published` for all of theirs, run or not; NAME is `all` or a pattern over recipe names, such
as `snugnet/*`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from snugnet.errors import DataError
from snugnet.report import ledger, published, reruns
from snugnet.report.ledger import Entry

TABLES = {"ledger": ledger.table, "papers": published.table}
KINDS = "|".join([*TABLES, "published"])
OPENING = re.compile(rf"<!-- ({KINDS}): (\S+) -->")
CLOSING = re.compile(rf"<!-- /({KINDS}) -->")
LIKE_A_MARKER = re.compile(rf"<!-- ({KINDS})")


def render_blocks(text: str, entries: Sequence[Entry], document: str = "README.md") -> str:
    """`text` with every block filled anew. Raises DataError for a block unclosed or without a recorded recipe."""
    out: list[str] = []
    kind, opened = "", 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if match := OPENING.fullmatch(line.strip()):
            if opened:
                raise unclosed(document, opened, kind)
            kind, opened = match[1], number
            out += [line, filled(entries, kind, match[2], f"{document}:{number}")]
        elif match := CLOSING.fullmatch(line.strip()):
            if not opened:
                above = f"write `<!-- {match[1]}: NAME -->` above it"
                raise DataError(f"{document}:{number}: `{match[0]}` closes nothing: {above}")
            if match[1] != kind:
                raise unclosed(document, opened, kind)
            opened = 0
            out.append(line)
        elif match := LIKE_A_MARKER.search(line):
            must = f"a marker must be `<!-- {match[1]}: NAME -->`"
            raise DataError(f"{document}:{number}: {must}; got `{line.strip()}`: mend it")
        elif not opened:
            out.append(line)
    if opened:
        raise unclosed(document, opened, kind)
    return "".join(out)


def unclosed(document: str, number: int, kind: str) -> DataError:
    return DataError(f"{document}:{number}: the {kind} block is not closed: write `<!-- /{kind} -->` below it")


def filled(entries: Sequence[Entry], kind: str, name: str, place: str) -> str:
    """The table of the recipes that match `name`. Raises DataError where there is none."""
    if kind == "published":
        return reruns.table(entries, "*" if name == "all" else name)
    found = [entry for entry in entries if name == "all" or fnmatchcase(entry.recipe, name)]
    if not found and name != "all":
        known = ", ".join(sorted({entry.recipe for entry in entries})) or "none yet"
        raise DataError(f"{place}: no recorded recipe matches `{name}`: use `all` or one of {known}")
    return TABLES[kind](found) if found else "No run is recorded yet.\n"
