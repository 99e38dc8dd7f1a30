"""The ONNX file that is served of a run, with maps of where the net looks: written once, and kept in the user's cache
under the digest of what ships."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from snugnet import __version__, artifact, files, runs
from snugnet.data.places import cache_folder
from snugnet.export.emit import onnx_bytes
from snugnet.export.runtime import SUFFIX


def onnx_file(path: Path) -> Path:
    """Of a run or a shipped file; an ONNX file is itself. Raises ArtifactError, MissingExtra, StorageError."""
    if path.suffix == SUFFIX and not path.is_dir():
        return path
    shipped = runs.shipped_file(path)
    net = artifact.read(shipped)
    name = sha256(shipped.read_bytes()).hexdigest()
    kept = cache_folder() / "exported" / f"{name}-{__version__}-maps{SUFFIX}"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(kept, onnx_bytes(net, maps=True))
    return kept
