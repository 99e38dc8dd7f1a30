from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from snugnet.data.grid import GAP, TEXT, TILE, write_grid
from snugnet.errors import StorageError

PIXELS = torch.arange(3).view(3, 1, 1, 1).expand(3, 3, 32, 32).to(torch.uint8) * 100


def test_tiles_lie_in_rows_enlarged(tmp_path: Path):
    write_grid(tmp_path / "new" / "a.png", PIXELS, ["one", "two", "drei"], columns=2)
    sheet = Image.open(tmp_path / "new" / "a.png")
    assert sheet.size == (2 * (TILE + GAP) + GAP, 2 * (TILE + TEXT + GAP) + GAP)
    assert sheet.getpixel((GAP + TILE - 1, GAP + TILE - 1)) == (0, 0, 0)
    assert sheet.getpixel((GAP + TILE + GAP, GAP)) == (100, 100, 100)
    assert sheet.getpixel((GAP, GAP + TILE + TEXT + GAP)) == (200, 200, 200)


def test_labels_are_drawn_and_cut_to_their_tile(tmp_path: Path):
    write_grid(tmp_path / "a.png", PIXELS[2:], ["a name much too long for one tile"], columns=1)
    text = Image.open(tmp_path / "a.png").convert("L").crop((0, GAP + TILE, 2 * GAP + TILE, GAP + TILE + TEXT))
    assert text.getextrema()[0] < 100
    assert text.crop((GAP + TILE, 0, 2 * GAP + TILE, TEXT)).getextrema() == (255, 255)


def test_words_lie_below_the_tiles(tmp_path: Path):
    write_grid(tmp_path / "a.png", PIXELS, ["1", "2", "3"], 3, ["one line", "another"])
    sheet = Image.open(tmp_path / "a.png").convert("L")
    below = TILE + TEXT + GAP
    assert sheet.size == (3 * (TILE + GAP) + GAP, below + GAP + 2 * TEXT)
    assert sheet.crop((0, below, sheet.width, sheet.height)).getextrema()[0] < 100


def test_grey_images(tmp_path: Path):
    write_grid(tmp_path / "a.png", PIXELS[1:2, :1, :8, :8], ["1"], columns=1)
    assert Image.open(tmp_path / "a.png").getpixel((GAP, GAP)) == (100, 100, 100)


def test_every_image_has_a_label(tmp_path: Path):
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        write_grid(tmp_path / "a.png", PIXELS, ["one"], columns=2)


def test_a_path_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(StorageError, match="cannot be written"):
        write_grid(tmp_path, PIXELS, ["1", "2", "3"], columns=2)
