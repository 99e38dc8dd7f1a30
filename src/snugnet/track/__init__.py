"""Trackers: TensorBoard, Weights & Biases and MLflow are told what a training does. docs/tracking.md says what.

Each is an extra, imported when it is chosen. None is asked to use the network unless the user's environment says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from snugnet.errors import MissingExtra, UsageError
from snugnet.problems import nearest

PACKAGES = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
NONE = "none"


def chosen(text: str | None) -> tuple[str, ...]:
    """The trackers of `--track tensorboard,wandb`; "none" is none. Raises UsageError, MissingExtra."""
    names = [part.strip() for part in (text or "").split(",")]
    return available(name for name in names if name and name != NONE)


def available(names: str | Iterable[str]) -> tuple[str, ...]:
    """The names (one alone will do), each once, known and installed. Raises UsageError, MissingExtra."""
    found = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in found:
        if name not in PACKAGES:
            known = ", ".join(PACKAGES)
            raise UsageError(f"--track {name}: must be of {known}, with commas between{nearest(name, PACKAGES)}")
        if missing := [package for package in PACKAGES[name] if not is_installed(package)]:
            raise MissingExtra(
                f"--track {name}: needs {', '.join(missing)}, not installed here: pip install 'snugnet[{name}]'"
            )
    return found


def is_installed(package: str) -> bool:
    """Not by a folder of that name, such as the ./wandb that W&B leaves where it ran."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
