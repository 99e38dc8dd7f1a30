"""What is installed only where it is wanted."""

from __future__ import annotations

from importlib.util import find_spec

from snugnet_runtime.errors import MissingExtra

SERVE = ("fastapi", "uvicorn", "python_multipart")


def check_serve() -> None:
    """Raises MissingExtra."""
    if missing := [package for package in SERVE if find_spec(package) is None]:
        raise MissingExtra(
            f"serve: needs {', '.join(missing)}, not installed here: pip install 'snugnet-runtime[serve]', or in a "
            "checkout of snugnet: pip install './runtime[serve]'"
        )
