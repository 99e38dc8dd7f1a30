"""The files of a multipart body, all in memory: nothing of an image touches a disk."""

from __future__ import annotations

from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from snugnet_runtime.errors import Refused

NAME_MOST = 200  # characters of a file's name


def files(content_type: str, body: bytes, most: int) -> list[tuple[str, bytes]]:
    """(name, bytes) of each part, in their order. Raises Refused: 400 for a torn body, 413 for too many."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Refused(400, "multipart/form-data: names no boundary; let your client set the header Content-Type")
    parts = _Parts(most)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"multipart/form-data: cannot be read ({error}); send it again") from error
    if not parts.is_whole:
        raise Refused(400, "multipart/form-data: ends before its last boundary; send it again")
    if not parts.found:
        raise Refused(400, "multipart/form-data: holds no file; send one or many")
    return parts.found


class _Parts:
    """What the parser has come upon so far."""

    def __init__(self, most: int) -> None:
        self.found: list[tuple[str, bytes]] = []
        self.is_whole = False
        self._most = most
        self._name, self._field, self._value, self._data = "", b"", b"", bytearray()

    def callbacks(self) -> Any:
        own = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in own}

    def _part_begin(self) -> None:
        if len(self.found) >= self._most:
            raise Refused(413, f"more than {self._most} images in a request; send them in several")
        self._name, self._data = f"image {len(self.found)}", bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _part_end(self) -> None:
        self.found.append((self._name, bytes(self._data)))
        self._data = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            given = parse_options_header(self._value)[1]
            name = given.get(b"filename") or given.get(b"name") or b""
            self._name = name.decode(errors="replace")[:NAME_MOST] or self._name
        self._field, self._value = b"", b""

    def _end(self) -> None:
        self.is_whole = True
