"""A CSV of `path,label`, with a `split` column or without one."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from snugnet.data.images import Split
from snugnet.data.listing import Listing, class_problems
from snugnet.data.problems import Problem
from snugnet.problems import shortened


def list_table(path: Path) -> Listing:
    """What `path` lists, and everything that is wrong with it. Files are relative to the CSV's folder.

    Without a split column the test split is, in each class, the fifth of the images with the lowest content hash.
    """
    files: dict[Split, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            problems = list(_header_problems(path, reader.fieldnames or ()))
            if not problems:
                problems += _fill(path, reader, files)
            columns = set(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return Listing(
            path,
            {},
            (Problem("error", str(path), f"is no readable CSV ({shortened(str(error))})", "save it as UTF-8 CSV"),),
        )
    return Listing(path, files, (*problems, *class_problems(path, files)), holds_out_test="split" not in columns)


def _header_problems(path: Path, header: object) -> Iterator[Problem]:
    names = list(header) if isinstance(header, list) else []
    if sorted(names) not in (["label", "path"], ["label", "path", "split"]):
        seen = shortened(",".join(names)) or "nothing"
        message = f"the first line must be path,label or path,label,split; it is {seen}"
        yield Problem("error", str(path), message, "write that header")


def _fill(table: Path, reader: csv.DictReader[str], files: dict[Split, dict[str, list[Path]]]) -> Iterator[Problem]:
    for row in reader:
        if message := _wrong(table.parent, row):
            yield Problem("error", f"{table}:{reader.line_num}", message, "correct the line or remove it")
        else:
            split: Split = row.get("split", "train")  # type: ignore[assignment]
            files[split][row["label"]].append(table.parent / row["path"])
    if "train" not in files:
        yield Problem("error", str(table), "lists no image to train on", "add lines")


def _wrong(root: Path, row: dict[str, str]) -> str | None:
    """What is wrong with a line; None where it may be used."""
    if None in row or None in row.values():
        return "has not as many values as the header"
    if not row["label"].strip():
        return "has no label"
    if row.get("split", "train") not in get_args(Split):
        return f"split must be train, val or test; it is {shortened(row['split'])!r}"
    return None if _is_file(root / row["path"]) else f"{shortened(row['path'])!r} is no file"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False
