"""Absolute paths of the machine at hand, such as /home/me/pets: others are to read the last part alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path

LEFT_ALONE = r"data:[\w./+-]+;base64,[\w+/=]+|(?!file:)\b[a-z][a-z0-9+.-]*://[^\s\"'<>]*"  # pictures, addresses
PART = r"(?:[^\s/\\\"'`<>&|;:,()\[\]{}=]|\\u[0-9a-fA-F]{4})+"  # JSON writes é as \u00e9
UNIX = rf"(?<![\w.~<*/)\]}}%+-])(?:file://)?/(?=[^\W\d]|[._\\]){PART}(?:/+{PART})*/?"
WINDOWS = rf"\b[A-Za-z]:(?:[\\/]+{PART})+"


def shortened(text: str) -> tuple[str, tuple[str, ...]]:
    """The text with each absolute path cut to its last part, and those paths, each once."""
    found: dict[str, None] = {}

    def cut(match: re.Match[str]) -> str:
        path = match["path"]
        if path is None:
            return match[0]
        found[path] = None
        return re.split(r"[\\/]+(?!u[0-9a-fA-F]{4})", path.rstrip("/\\"))[-1]

    known = "".join(rf"{re.escape(root)}(?:/+{PART})*/?|" for root in _roots())  # spaces in them too
    return re.sub(rf"{LEFT_ALONE}|(?P<path>{known}{UNIX}|{WINDOWS})", cut, text), tuple(found)


def named_in(data: bytes) -> str | None:
    """A folder of this user or of this Python whose path stands in a file that is no text."""
    return next((root for root in (*_roots(), sys.prefix) if f"{root}/".encode() in data), None)


def _roots() -> list[str]:
    """The user's own folders, the longest first."""
    folders = {str(Path.home()), str(Path.cwd())}
    return sorted((folder for folder in folders if len(folder) > 1), key=len, reverse=True)
