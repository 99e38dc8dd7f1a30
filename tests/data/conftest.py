from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_data import TinyCifar

Picture = Callable[..., Path]


@pytest.fixture(autouse=True)
def _nothing_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache, finds his data, or downloads."""
    monkeypatch.setenv("SNUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SNUG_OFFLINE", "1")
    monkeypatch.delenv("SNUG_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tiny(tmp_path: Path) -> TinyCifar:
    return TinyCifar(tmp_path / "tiny")


@pytest.fixture
def picture() -> Picture:
    """Writes an image of random pixels; the same seed gives the same pixels."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def pets(tmp_path: Path, picture: Picture) -> Path:
    """A folder: 10 cats and 10 dogs of 8×8 to train on, 2 of each to test on."""
    root = tmp_path / "pets"
    for k, name in enumerate(("cat", "dog")):
        for i in range(10):
            picture(root / "train" / name / f"{i}.png", seed=100 * k + i)
        for i in range(2):
            picture(root / "test" / name / f"{i}.png", seed=1000 + 100 * k + i)
    return root
