"""Where data lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from snugnet.errors import DataError


def cache_folder() -> Path:
    """$SNUG_CACHE, else snugnet in the user's cache folder. It may not exist yet."""
    if chosen := os.environ.get("SNUG_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "snugnet"


def data_folders() -> list[Path]:
    """Where named data sets are looked for, in order. Raises DataError where $SNUG_DATA is no folder."""
    chosen = os.environ.get("SNUG_DATA")
    if chosen and not Path(chosen).expanduser().is_dir():
        raise DataError(
            f"SNUG_DATA is {chosen!r}, which is no folder: set it to the one that holds the data, or unset it"
        )
    return [*([Path(chosen).expanduser()] if chosen else []), Path("data"), cache_folder()]
