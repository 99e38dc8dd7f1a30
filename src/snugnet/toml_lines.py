"""On which line of a TOML text each value stands. The standard parser does not say."""

from __future__ import annotations

import re
from bisect import bisect_right

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_HEADER = re.compile(r"(\[\[?)((?:\"(?:\\.|[^\"\\])*\"|'[^']*'|[^\]\"'])*)\]\]?")
_KEY = re.compile(r"(?:\"(?:\\.|[^\"\\])*\"|'[^']*'|[^=\"'])+=")
_PART = re.compile(r"\"((?:\\.|[^\"\\])*)\"|'([^']*)'|([^\s.\"'=]+)")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:\\.|[^"\\])*"|\'[^\']*\'',
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n]*")  # a number, a date, true or false


def locate(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """Lines, from 1, of values and of [table] headers: {"model.width": 4, "model.stages.0.blocks": 6}, {"model": 3}.

    The text is known to parse. Items of arrays and keys of inline tables stand under paths of their own.
    """
    return _Scanner(text).scan()


class _Scanner:
    """Walks through a text from its beginning; `place` is where it is."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0
        self.starts = [match.end() for match in re.finditer("\n", text)]
        self.keys: dict[str, int] = {}
        self.headers: dict[str, int] = {}
        self.counts: dict[str, int] = {}  # of the tables in each array of tables

    def scan(self) -> tuple[dict[str, int], dict[str, int]]:
        table: tuple[str, ...] = ()
        while self._next():
            if self._next() == "[":
                line, match = self._line(), self._take(_HEADER)
                table = self._entered(_parts(match[2]), is_array=match[1] == "[[")
                self.headers[".".join(table)] = line
            else:
                self._pair(table)
        return self.keys, self.headers

    def _next(self) -> str:
        """The character ahead, behind blanks and comments; "" at the end."""
        self._take(_BLANK)
        return self.text[self.place : self.place + 1]

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.place)
        assert match, "a text that parses"
        self.place = match.end()
        return match

    def _line(self) -> int:
        return bisect_right(self.starts, self.place) + 1

    def _pair(self, table: tuple[str, ...]) -> None:
        line = self._line()
        path = (*table, *_parts(self._take(_KEY)[0][:-1]))
        self.keys[".".join(path)] = line
        self._value(path)

    def _value(self, path: tuple[str, ...]) -> None:
        opening = self._next()
        if opening in "\"'":
            self._take(_STRING)
        elif opening in "[{":
            self._inside(path, opening)
        else:
            self._take(_PLAIN)

    def _inside(self, path: tuple[str, ...], opening: str) -> None:
        """The items of an array, or the pairs of an inline table."""
        self.place += 1
        number = 0
        while (ahead := self._next()) not in "]}":
            if ahead == ",":
                self.place += 1
            elif opening == "{":
                self._pair(path)
            else:
                self.keys[".".join((*path, str(number)))] = self._line()
                self._value((*path, str(number)))
                number += 1
        self.place += 1

    def _entered(self, path: tuple[str, ...], *, is_array: bool) -> tuple[str, ...]:
        """The path of a header, arrays of tables with their index."""
        parts: list[str] = []
        for depth, part in enumerate(path, 1):
            parts.append(part)
            here = ".".join(parts)
            if is_array and depth == len(path):
                self.counts[here] = self.counts.get(here, 0) + 1
            if here in self.counts:
                parts.append(str(self.counts[here] - 1))
        return tuple(parts)


def _parts(key: str) -> tuple[str, ...]:
    """The names in a dotted key. Escapes stay as they are written."""
    return tuple(match[1] or match[2] or match[3] or "" for match in _PART.finditer(key))
