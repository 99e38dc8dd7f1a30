"""Image files of every kind, small ones, and some that are meant to hurt."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def noise(mode: str, width: int = 40, height: int = 30) -> Image.Image:
    draw = np.random.default_rng(1)
    if mode == "I;16":
        return Image.fromarray(draw.integers(0, 65_536, (height, width), np.uint16))
    if mode == "I":
        return Image.fromarray(draw.integers(0, 65_536, (height, width)).astype(np.int32))
    if mode == "F":
        return Image.fromarray(draw.random((height, width), np.float32))
    bands = {"RGB": 3, "RGBA": 4, "CMYK": 4, "LA": 2, "L": 1}.get(mode)
    if bands is None:  # "P", "1"
        return noise("RGB", width, height).convert(mode)
    array = draw.integers(0, 256, (height, width, bands), np.uint8)
    return Image.fromarray(array[..., 0]) if bands == 1 else Image.frombytes(mode, (width, height), array.tobytes())


def encoded(image: Image.Image, form: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def turned(form: str = "JPEG") -> bytes:
    """Lies on its side, and its EXIF says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise("RGB"), form, exif=exif)


def animated() -> bytes:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40)


KINDS = {
    "rgb.png": encoded(noise("RGB"), "PNG"),
    "already.png": encoded(noise("RGB", 32, 32), "PNG"),
    "grey.png": encoded(noise("L"), "PNG"),
    "bits.png": encoded(noise("1"), "PNG"),
    "palette.png": encoded(noise("P"), "PNG"),
    "clear palette.png": encoded(noise("P"), "PNG", transparency=3),
    "clear.png": encoded(noise("RGBA"), "PNG"),
    "grey and clear.png": encoded(noise("LA"), "PNG"),
    "16 bit.png": encoded(noise("I;16"), "PNG"),
    "16 bit.tif": encoded(noise("I;16"), "TIFF"),
    "32 bit.tif": encoded(noise("I"), "TIFF"),
    "photo.jpg": encoded(noise("RGB", 200, 90), "JPEG"),
    "turned.jpg": turned(),
    "print.jpg": encoded(noise("CMYK"), "JPEG"),
    "print.tif": encoded(noise("CMYK"), "TIFF"),
    "moving.gif": animated(),
    "web.webp": encoded(noise("RGBA"), "WEBP", lossless=True),
    "old.bmp": encoded(noise("RGB"), "BMP"),
    "plain.ppm": encoded(noise("RGB"), "PPM"),
    "thin.png": encoded(noise("RGB", 1, 300), "PNG"),
}


def bomb_png(width: int = 50_000, height: int = 50_000) -> bytes:
    """A whole PNG of black pixels, one bit each: 312 MB of rows in 300 kB."""
    packer = zlib.compressobj(9)
    rows, row = [], b"\0" + bytes((width + 7) // 8)
    for _ in range(height):
        rows.append(packer.compress(row))
    rows.append(packer.flush())
    return png_of(width, height, b"".join(rows))


def png_of(width: int, height: int, packed: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def webp_canvas(width: int, height: int) -> bytes:
    """The header of an animated WebP file, which says how large its canvas is."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + sides
