from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import torch
from pydantic import Field

from command import snug
from snugnet.ship import bench

torch.set_num_threads(1)  # bitwise claims hold for one number of threads; tiny nets are fastest with one


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of snugnet/digits, two epochs, with its report. Copy it before changing it."""
    path = tmp_path_factory.mktemp("finished") / "digits"
    answer = snug("train", "snugnet/digits", "--set", "train.epochs=2", "--run", path)
    assert answer.code == 0, answer.err
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without data, cache or network."""
    monkeypatch.setenv("SNUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SNUG_OFFLINE", "1")
    monkeypatch.delenv("SNUG_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Quick(bench.Protocol):
    """Timings without a second of warm-up, and without fresh processes.

    Not in a function: pydantic would look its names up in the module called conftest, and there are several."""

    warmup_s: float = 0.01
    starts: Annotated[int, Field(ge=0)] = 0


@pytest.fixture
def quick_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "Protocol", Quick)
