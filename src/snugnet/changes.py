"""What differs between configurations, in a few words: "epochs 2, batch_size 128, no ema"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ABOUT = frozenset({"name", "purpose", "source", "command", "hardware", "time", "seed", "budget", "published", "expect",
                   "parent", "teachers"})  # fmt: skip
FOLLOWS = frozenset({"data.memory", "model.classes", "model.in_channels", "model.image_size", "train.log_every"})
SECTIONS = ("train.", "data.", "model.")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], table: str = "") -> Iterator[str]:
    """Paths of the values that shape a result and are not the same; of a table that one side lacks, the table's.

    What follows from the data, or says how a training was carried out, is none of them.
    """
    for key in dict.fromkeys((*old, *new)):
        path, there, here = f"{table}{key}", old.get(key), new.get(key)
        if there == here or path in ABOUT or path in FOLLOWS:
            continue
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            yield from differences(there, here, f"{path}.")
        else:
            yield path


def told(path: str, config: Mapping[str, Any]) -> str:
    """A value that differs: its name, and what it is where that is short."""
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    section = next((each for each in SECTIONS if path.startswith(each)), "")
    name = "data" if path == "data.name" else path.removeprefix(section)
    if value is None:
        return f"no {name}"
    if isinstance(value, (Mapping, Sequence)) and not isinstance(value, str):
        return name
    return f"{name} {str(value).lower() if isinstance(value, bool) else value}"
