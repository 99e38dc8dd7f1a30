from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "compress"))  # nets that are made up there


@pytest.fixture(scope="session")
def folder_of_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def compiled_once(folder_of_c: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled lies in a folder of the tests' own."""
    monkeypatch.setenv("SNUG_CACHE", str(folder_of_c))
