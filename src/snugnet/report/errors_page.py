"""docs/errors.md: every class of error with its exit code, and every message as the code has it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import snugnet
from snugnet import errors

ROW = re.compile(r"[├└]── (?P<name>\w+)\s+(?P<code>\d+)\s+(?P<meaning>.+)")
INTRODUCTION = """# Errors

Generated from the code by `make tables`. An error is one message on stderr, after the name of its class; a traceback
comes with `--debug` alone. The message names the subject, what must hold, what was seen, and what to do; the exit code
says what kind it is. 0 is success, and 1 a fault of snugnet itself, which is told as `Bug`. From Python each class is
`snugnet.errors.NAME`, all of them `SnugError`, with its `exit_code`.

| class | exit code | means |
|---|--:|---|
"""
MESSAGES = """
## Messages

As the code has them; `{name}` stands for what was seen, and `...` for what is put together on the way.
"""


@dataclass(frozen=True)
class ErrorClass:
    """A line of the tree in snugnet.errors."""

    name: str
    exit_code: int
    meaning: str


def tree() -> list[ErrorClass]:
    """What snugnet.errors says of each class, in its order."""
    found = ROW.finditer(errors.__doc__ or "")
    return [ErrorClass(row["name"], int(row["code"]), row["meaning"].strip()) for row in found]


def messages() -> dict[str, set[str]]:
    """By class, the messages that the code makes of it."""
    names, found = {each.name for each in tree()}, defaultdict[str, set[str]](set)
    for path in sorted(Path(snugnet.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args:
                text = re.sub(r"\.{4,}", "...", "".join(_words(node.args[0])))
                if re.search(r"\w", re.sub(r"\{\w+\}", "", text)):
                    found[node.func.id].add(" ".join(text.split()))
    return found


def _words(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _words(part)
    elif isinstance(node, ast.FormattedValue):
        yield _placeholder(node.value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _words(node.left)
        yield from _words(node.right)
    else:
        yield "..."


def _placeholder(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return f"{{{node.id}}}"
    return f"{{{node.attr}}}" if isinstance(node, ast.Attribute) else "..."


def errors_page() -> str:
    """The document. Classes without a message of their own are those that others are kinds of."""
    known, said = tree(), messages()
    rows = "".join(f"| `{each.name}` | {each.exit_code} | {each.meaning} |\n" for each in known)
    blocks = "".join(_block(each.name, said[each.name]) for each in known if said[each.name])
    return INTRODUCTION + rows + MESSAGES + blocks


def _block(name: str, said: set[str]) -> str:
    return f"\n### {name}\n\n```text\n" + "".join(f"{message}\n" for message in sorted(said)) + "```\n"
