"""Shipped files of any kind, by their suffix."""

from __future__ import annotations

from pathlib import Path

from snugnet import artifact
from snugnet.artifact import Shipped
from snugnet.export import runtime


def read(path: Path) -> Shipped:
    """Raises ArtifactError; MissingExtra of an ONNX file."""
    return runtime.read(path) if path.suffix == runtime.SUFFIX else artifact.read(path)
