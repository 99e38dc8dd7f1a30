from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "compress"))  # nets that are made up there


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled C lies in a folder of the tests' own."""
    import os

    os.environ["SNUG_CACHE"] = str(tmp_path_factory.mktemp("cache"))
