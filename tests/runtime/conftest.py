from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

WANTED = ("onnx", "onnxruntime", "fastapi", "uvicorn", "python_multipart")
if any(find_spec(name) is None for name in WANTED):
    collect_ignore_glob = ["test_*.py"]  # the extras are not installed here


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from onnx_nets import write

    return write(tmp_path_factory.mktemp("net") / "net.onnx")
