"""Bytes of image files to the pixels that a net takes: the same pixels, to the bit, as `snug predict` makes of them.

Those bytes come from anyone. A header says how many pixels there are before any of them is decoded, and only formats
whose decoders are needed are tried.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from snugnet_runtime.errors import Refused
from snugnet_runtime.model import Card, Pixels

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 25_000_000
MOST_PIXELS = 89_478_485  # beyond which Pillow itself warns, and beyond twice as many refuses
MODES = {1: "L", 3: "RGB"}
TOO_MANY = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # the second where warnings are errors
CANVAS = slice(24, 30)  # of a WebP file with an extended header: width and height less one, three bytes each


def pixels(data: bytes, card: Card, name: str, max_pixels: int = MAX_PIXELS) -> Pixels:
    """uint8 (channels, size, size): upright, white where it is transparent, the first frame, the shorter side to
    `size`, then the centre. Messages call it by its `name`.

    Raises Refused: 413 for too many pixels, 415 for another format, 400 for a damaged file.
    """
    _check_canvas(data, name, max_pixels)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, name, max_pixels)
            picture = _rgb(ImageOps.exif_transpose(image)).convert(MODES[card.channels])
            square = (card.size, card.size)
            fitted = picture if picture.size == square else ImageOps.fit(picture, square, Image.Resampling.BICUBIC)
    except Refused:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise Refused(415, f"{name}: is no image of a known format; give one of {known}") from error
    except TOO_MANY as error:
        raise Refused(413, f"{name}: has more than {max_pixels:,} pixels; give a smaller image") from error
    except Exception as error:  # decoders raise what they like on hostile bytes
        reason = " ".join(str(error).split())[:200]
        raise Refused(400, f"{name}: cannot be read as an image ({reason}); give a whole one") from error
    return np.ascontiguousarray(np.asarray(fitted).reshape(*square, card.channels).transpose(2, 0, 1))


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise Refused(
            413, f"{name}: is {width:,} × {height:,} pixels, more than {max_pixels:,} in all; give a smaller image"
        )


def _check_canvas(data: bytes, name: str, max_pixels: int) -> None:
    """Pillow makes room for the whole canvas of a WebP file as it opens it."""
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X":
        sides = data[CANVAS]
        width, height = (int.from_bytes(sides[place : place + 3], "little") + 1 for place in (0, 3))
        _check_size((width, height), name, max_pixels)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Pillow's own conversion clips at 255."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray(((values.astype(np.int32) + 128) // 257).astype(np.uint8)).convert("RGB")
