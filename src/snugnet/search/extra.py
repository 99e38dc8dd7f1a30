"""What is imported only when it is needed: Optuna, SQLAlchemy and PostgreSQL's driver are extras."""

from __future__ import annotations

import importlib
from typing import Any

from snugnet.errors import MissingExtra

EXTRAS = {"optuna": "search", "sqlalchemy": "search", "psycopg": "postgres"}


def needed(package: str) -> Any:
    """The module, which may be one inside a package. Raises MissingExtra."""
    name = package.partition(".")[0]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(
            f"search: needs {name}, not installed here: pip install 'snugnet[{EXTRAS[name]}]'"
        ) from error
