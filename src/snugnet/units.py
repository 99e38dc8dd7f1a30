"""Quantities as people write them: "5M" is 5_000_000, "64kB" is 64_000 bytes, "50m" is 3_000 seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

COUNT = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
BYTES = {"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}

LARGEST = 1e18
_WHOLE = r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+(?:_[0-9]+)*"  # a comma groups thousands: "1,5M" is a slip, not 15M
_QUANTITY = re.compile(rf"\s*((?:{_WHOLE})(?:\.[0-9]*)?)\s*([A-Za-z]*|%)\s*")


def parse(text: str | int | float, table: Mapping[str, float], what: str) -> float:
    """`text` as a number in the table's base unit. Raises ValueError naming `what` and the units it knows."""
    if isinstance(text, (int, float)) and math.isfinite(text) and text >= 0:
        return text
    match = _QUANTITY.fullmatch(str(text))
    if match is None or match[2] not in table:
        known = ", ".join(unit for unit in table if unit)
        raise ValueError(f"{what} must be a number, or a number with one of {known}; got {str(text)!r}")
    number = float(match[1].replace(",", "").replace("_", "")) * table[match[2]]
    if number > LARGEST:
        raise ValueError(f"{what} must be at most {LARGEST:g}; got {str(text)[:20]!r}...")
    return number


def parse_count(text: str | int | float) -> int:
    """A number of things: parameters, MACs. Decimal: "5M" is 5_000_000."""
    return round(parse(text, COUNT, "a count"))


def parse_bytes(text: str | int | float) -> int:
    """A size in bytes. Decimal unless written with an i: "64kB" is 64_000, "64KiB" is 65_536."""
    return round(parse(text, BYTES, "a size"))


def parse_seconds(text: str | int | float) -> float:
    """A duration in seconds: "90", "90s", "50m", "1.5h"."""
    return parse(text, SECONDS, "a duration")


def show_count(value: float) -> str:
    """Three significant digits and a decimal prefix: 4_978_810 is "4.98M"."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * limit:  # what rounds to 1000 of the smaller unit is 1 of this
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def show_flops(value: float) -> str:
    """Three significant digits: 1.2e15 is "1.2 PFLOP"."""
    for limit, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= 0.9995 * limit:
            return f"{value / limit:.3g} {unit}FLOP"
    return f"{value:,.0f} FLOP"


def show_bytes(value: float) -> str:
    """Three significant digits, decimal: 19_915_240 is "19.9 MB"."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= 0.9995 * limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.0f} B"


def show_seconds(value: float) -> str:
    """ "42 s", "5 min 12 s", "2 h 05 min"."""
    seconds = round(value)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def show_percent(fraction: float, digits: int = 2) -> str:
    return f"{100 * fraction:.{digits}f} %"
