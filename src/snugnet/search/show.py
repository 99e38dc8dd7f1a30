"""Figures of a search in words."""

from __future__ import annotations

from typing import Any

from snugnet import budget, toml_text
from snugnet.units import show_percent


def shown(name: str, value: float) -> str:
    """An objective with its unit: "91.20 %", "22,186 parameters", "0.834 ms"."""
    if name == "accuracy":
        return show_percent(value)
    return f"{value:.3f} ms" if name == "latency" else budget.show(name, value)


def shown_value(value: Any) -> str:
    """A value of a point: numbers short, texts bare, lists and tables as TOML."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else toml_text.inline(value)


def short_keys(keys: list[str]) -> dict[str, str]:
    """The last parts of dotted keys, as many as tell them apart: "stages.0.channels", "lr"."""
    found = {}
    for key in keys:
        parts = key.split(".")
        depth = 1
        while depth < len(parts) and (
            parts[-depth].isdecimal() or sum(other.split(".")[-depth:] == parts[-depth:] for other in keys) > 1
        ):
            depth += 1
        found[key] = ".".join(parts[-depth:])
    return found
