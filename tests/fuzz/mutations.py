"""Bytes bent out of shape: by random draws for the fast tests, and for the search that coverage guides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

LARGEST = 1 << 16  # bytes; a bug that needs more is found by hand
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1)
Change = Callable[[Random, bytes, Sequence[bytes]], bytes]  # of a text, with the words that its format knows


def mutated(random: Random, data: bytes, words: Sequence[bytes], changes: int = 0) -> bytes:
    """`data` after so many changes, of 0 one to four, most often one."""
    for _ in range(changes or random.choice((1, 1, 2, 4))):
        data = random.choice(CHANGES)(random, data, words)[:LARGEST]
    return data


def _span(random: Random, data: bytes, most: int = 64) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.randint(1, most))


def _bit(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return b"\0"
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]


def _byte(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, _end = _span(random, data)
    return data[:start] + bytes([random.randrange(256)]) + data[start + 1 :]


def _edge(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A number at the border of its type, over what stands there."""
    start, _end = _span(random, data)
    width = random.choice((1, 2, 4, 8))
    value = (random.choice(EDGES) % (1 << 8 * width)).to_bytes(width, random.choice(("little", "big")))
    return data[:start] + value + data[start + width :]


def _cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: random.randint(0, len(data))]


def _without(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:start] + data[end:]


def _again(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A piece repeated: a few times, or so often that nesting and lengths are felt."""
    start, end = _span(random, data, 16)
    return data[:end] + data[start:end] * random.choice((1, 2, 10, 3000)) + data[end:]


def _word(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """A word of the format put in, or over what stands there."""
    if not words:
        return data
    start, end = _span(random, data, 12)
    return data[:start] + random.choice(words) + data[random.choice((start, end)) :]


def _digits(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Another number in the place of one that is written out."""
    places = [place for place, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return data
    start = end = random.choice(places)
    while end < len(data) and 48 <= data[end] <= 57:
        end += 1
    number = random.choice((b"0", b"-1", b"1e999", b"65536", b"1000", b"99999999999", b"9" * 400, b"nan", b"0.5", b"1"))
    return data[:start] + number + data[end:]


CHANGES: tuple[Change, ...] = (_bit, _byte, _edge, _cut, _without, _again, _word, _word, _digits)
