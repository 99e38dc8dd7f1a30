"""Templates to pages. Knows nothing of runs, so that the page of the ledger is made without torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from snugnet import __version__
from snugnet.units import show_bytes, show_count, show_percent, show_seconds

MOST_ROWS_OPEN = 20  # a longer table starts folded


def render(template: str, values: Mapping[str, Any]) -> str:
    """Autoescape is on: class names, paths and commands are a stranger's text."""
    return _environment(autoescape=True).get_template(template).render(version=__version__, **values) + "\n"


def render_markdown(template: str, values: Mapping[str, Any]) -> str:
    """A stranger's text goes through one of the filters `words`, `code`, `one_line` and `json`."""
    environment = _environment(autoescape=False)
    environment.filters.update(words=words, code=code, one_line=one_line, numbers=numbers)
    environment.filters["json"] = json.dumps  # as YAML and JSON both read a text
    return environment.get_template(template).render(version=__version__, **values).rstrip("\n") + "\n"


def words(text: object) -> str:
    """As running text or a cell of a table, in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", one_line(text)).replace("&", "&amp;").replace("<", "&lt;")


def code(text: object) -> str:
    """As a name in typewriter face, also in a table."""
    return "`" + one_line(text).replace("`", "'").replace("|", r"\|") + "`"


def one_line(text: object) -> str:
    return " ".join(str(text).split())


def numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.6f}".rstrip("0").rstrip(".") for value in values)


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("snugnet.report"), autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(count=show_count, size=show_bytes, time=show_seconds, percent=show_percent)
    environment.filters["whole"] = "{:,}".format
    environment.globals["most_rows_open"] = MOST_ROWS_OPEN
    return environment
