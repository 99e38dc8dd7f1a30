"""On which line of a TOML text each key stands. The standard parser does not say."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-\"'.\s]+?)\s*=")


def _path(text: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in text.split("."))


def locate(text: str) -> dict[str, int]:
    """Line, from 1, of every table and key: {"model": 3, "model.width": 4, "model.stages.0.block": 7}.

    The text is known to parse. Items of inline tables and arrays are found at the line of their key.
    """
    lines: dict[str, int] = {}
    prefix, depth, quoted = "", 0, ""
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not depth and not quoted:
            if header := _HEADER.match(line):
                prefix = _enter(_path(header[2]), header[1] == "[[", counts)
                lines[prefix] = number
                continue
            if key := _KEY.match(line):
                lines[".".join(filter(None, (prefix, _path(key[1]))))] = number
        depth, quoted = _open_brackets(line, depth, quoted)
    return lines


def _enter(path: str, is_array: bool, counts: dict[str, int]) -> str:
    """The path of a header, arrays of tables with their index."""
    parts: list[str] = []
    for part in path.split("."):
        parts.append(part)
        here = ".".join(parts)
        if here in counts and here != path:
            parts.append(str(counts[here] - 1))
    here = ".".join(parts)
    if not is_array:
        return here
    counts[path] = counts.get(path, 0) + 1
    return f"{here}.{counts[path] - 1}"


def _open_brackets(line: str, depth: int, quoted: str) -> tuple[int, str]:
    """Brackets left open at the end of the line, and the triple quote it ends in, if any."""
    place = 0
    while place < len(line):
        triple = line[place : place + 3]
        if quoted:
            if line.startswith(quoted, place):
                place += len(quoted)
                quoted = ""
                continue
        elif triple in ('"""', "'''"):
            quoted = triple
            place += 3
            continue
        elif line[place] in "\"'":
            quoted = line[place]
        elif line[place] == "#":
            break
        else:
            depth += (line[place] in "[{") - (line[place] in "]}")
        place += 2 if quoted.startswith('"') and line[place] == "\\" else 1
    return depth, quoted if len(quoted) == 3 else ""
