"""What is imported only when it is needed: onnx and onnxruntime are an extra."""

from __future__ import annotations

import importlib
from typing import Any

from snugnet.errors import MissingExtra

PACKAGES = ("onnx", "onnxruntime")


def needed(package: str) -> Any:
    """Raises MissingExtra."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"ONNX: needs {package}, not installed here: pip install 'snugnet[export]'") from error
