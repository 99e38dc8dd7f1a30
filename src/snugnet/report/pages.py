"""Templates to pages. Knows nothing of runs, so that the page of the ledger is made without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from snugnet import __version__
from snugnet.units import show_bytes, show_count, show_percent, show_seconds

MOST_ROWS_OPEN = 20  # a longer table starts folded


def render(template: str, values: Mapping[str, Any]) -> str:
    return _environment().get_template(template).render(version=__version__, **values) + "\n"


def _environment() -> Environment:
    """Autoescape is on: class names, paths and commands are a stranger's text."""
    environment = Environment(
        loader=PackageLoader("snugnet.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(count=show_count, size=show_bytes, time=show_seconds, percent=show_percent)
    environment.filters["whole"] = "{:,}".format
    environment.globals["most_rows_open"] = MOST_ROWS_OPEN
    return environment
