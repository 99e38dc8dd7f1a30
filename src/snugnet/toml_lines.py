"""On which line of a TOML text each key stands. The standard parser does not say."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-\"'.\s]+?)\s*=")


def _path(text: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in text.split("."))


def locate(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """Lines, from 1, of keys and of [table] headers: {"model.width": 4, "model.stages": 5}, {"model": 3}.

    The text is known to parse. Items of inline tables and arrays stand under their key alone.
    """
    keys: dict[str, int] = {}
    headers: dict[str, int] = {}
    prefix, depth, quoted = "", 0, ""
    counts: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not depth and not quoted:
            if header := _HEADER.match(line):
                prefix = _enter(_path(header[2]), header[1] == "[[", counts)
                headers[prefix] = number
                continue
            if key := _KEY.match(line):
                keys[".".join(filter(None, (prefix, _path(key[1]))))] = number
        depth, quoted = _open_brackets(line, depth, quoted)
    return keys, headers


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
