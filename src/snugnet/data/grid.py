"""Images as one picture, to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from snugnet.files import write_bytes

TILE = 96  # px; small images are enlarged by a whole factor, so that their pixels stay visible
TEXT = 16  # px under a tile
GAP = 4  # px


def write_grid(path: Path, pixels: Tensor, labels: Sequence[str], columns: int, captions: Sequence[str] = ()) -> None:
    """A PNG of the images, uint8 (N, C, H, W) with C of 1 or 3, `columns` a row, each over its label; below them lines
    of words.

    Raises StorageError.
    """
    tiles = [_tile(image) for image in pixels]
    width, height = max(TILE, tiles[0].width) + GAP, tiles[0].height + TEXT + GAP
    rows = -(-len(tiles) // columns)
    size = columns * width + GAP, rows * height + GAP + TEXT * len(captions)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for line, caption in enumerate(captions):
        draw.text((GAP, rows * height + line * TEXT), _fitted(draw, caption, size[0] - 2 * GAP), fill="black")
    for index, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        left, top = GAP + index % columns * width, GAP + index // columns * height
        sheet.paste(tile, (left, top))
        draw.text((left, top + tile.height), _fitted(draw, label, width - GAP), fill="black")
    file = io.BytesIO()
    sheet.save(file, "PNG")
    write_bytes(path, file.getvalue())


def _tile(image: Tensor) -> Image.Image:  # uint8 (C, H, W)
    array = image.permute(1, 2, 0).contiguous().cpu().numpy()
    tile = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    factor = max(1, TILE // tile.height)
    return tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)


def _fitted(draw: ImageDraw.ImageDraw, label: str, width: int) -> str:
    """The label, cut where it is wider than its tile."""
    while len(label) > 1 and draw.textlength(label) > width:
        label = label[:-2] + "…"
    return label
