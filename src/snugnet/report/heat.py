"""Maps of where a net looks, laid over the image: orange speaks for the class, blue against it, grey says nothing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

FOR, AGAINST = (213, 94, 0), (0, 114, 178)  # the orange and blue of all our pictures
OPACITY = 0.85  # where a map is strongest, so that the image still shows
GREYS = 70, 150  # the darkest, and how much the brightest is above it: on black or white a map would not be seen
SIDE = 192  # px of a panel; small images are enlarged by a whole factor
GAP, LINE, FONT_SIZE = 10, 17, 12  # px
INK, PAPER = "#1b1f24", "#ffffff"

LEGEND = ((FOR, "speaks for the class"), (AGAINST, "speaks against it"), ((110, 110, 110), "says nothing"))
SWATCH = 11  # px

Panel = tuple[str, Tensor]  # a caption, and uint8 (1 or 3, H, W)


def overlay(image: Tensor, heat: Tensor) -> Tensor:
    """uint8 (3, H, W) of an image uint8 (1 or 3, h, w), enlarged without smoothing to the size of its map (H, W)."""
    darkest, span = GREYS
    grey = darkest + span * enlarged(image, heat.shape[-1]).float().mean(0).expand(3, -1, -1) / 255
    largest = heat.abs().amax()
    share = (heat / largest if largest else heat).cpu()
    color = torch.where(share[None] >= 0, _column(FOR), _column(AGAINST))
    opacity = OPACITY * share.abs()
    return (grey * (1 - opacity) + color * opacity).round().to(torch.uint8)


def _column(color: tuple[int, int, int]) -> Tensor:
    return torch.tensor(color, dtype=torch.float32)[:, None, None]


def enlarged(image: Tensor, side: int) -> Tensor:
    return F.interpolate(image[None].cpu(), size=(side, side), mode="nearest")[0]


def smooth(heat: Tensor, side: int) -> Tensor:
    """A map (H, W) enlarged bilinearly to (side, side)."""
    return F.interpolate(heat[None, None].cpu(), size=(side, side), mode="bilinear", align_corners=False)[0, 0]


def panel_side(image_size: int) -> int:
    return image_size * max(1, SIDE // image_size)


def sheet(heading: Sequence[str], rows: Sequence[tuple[str, Sequence[Panel]]]) -> bytes:
    """A PNG: lines of text and what the colours mean, then rows of panels of one size, each row under a line of its own
    and each panel over its caption."""
    font = ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), FONT_SIZE)
    side = rows[0][1][0][1].shape[-1]
    wide = max(len(panels) for _, panels in rows)
    longest = max(font.getlength(text) for text in (*heading, *(title for title, _ in rows)))
    legend = sum(font.getlength(words) + SWATCH + 2 * GAP for _, words in LEGEND)
    width = int(max(GAP + wide * (side + GAP), longest + 2 * GAP, legend))
    height = GAP + LINE * (len(heading) + 1) + len(rows) * (side + 2 * LINE + GAP)
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    top = GAP // 2
    for text in heading:
        draw.text((GAP, top), text, INK, font)
        top += LINE
    _draw_legend(draw, font, top)
    top += LINE
    for title, panels in rows:
        draw.text((GAP, top + 2), title, INK, font)
        for place, (caption, image) in enumerate(panels):
            left = GAP + place * (side + GAP)
            page.paste(_picture(image), (left, top + LINE + 2))
            draw.text((left, top + LINE + side + 4), _fitted(font, caption, side), INK, font)
        top += side + 2 * LINE + GAP
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def _draw_legend(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, top: int) -> None:
    left = GAP
    for color, words in LEGEND:
        draw.rectangle((left, top + 3, left + SWATCH, top + 3 + SWATCH), fill=color)
        draw.text((left + SWATCH + GAP // 2, top), words, INK, font)
        left += SWATCH + 2 * GAP + int(font.getlength(words))


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray(image.cpu().expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())


def _fitted(font: ImageFont.FreeTypeFont, text: str, width: int) -> str:
    """The text, cut where it is wider than its panel."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
