"""JPEG compression of whole batches: the steps of libjpeg that lose something, without the file.

Colours become luminance and chroma at half the size, blocks of 8x8 are transformed, divided by the tables of the
quality, rounded, and all of it goes back, the chroma smoothed as libjpeg does. Nearly all pixels are within one level
of Pillow's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from snugnet.evaluate.corrupt.draws import Draws

QUALITY = (80, 65, 58, 50, 40)
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *((99,) * 8,) * 4,
)  # fmt: skip
TO_CHROMA = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
FROM_CHROMA = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


def jpeg(images: Tensor, draws: Draws, strength: int) -> Tensor:  # noqa: ARG001
    return compressed(images * 255, QUALITY[strength]) / 255


def compressed(levels: Tensor, quality: int) -> Tensor:
    """float (N, 1 or 3, H, W), whole numbers from 0 to 255, there and back; other numbers of channels one by one."""
    levels = levels.round()
    if levels.shape[1] != 3:
        return torch.cat([_component(channel, LUMINANCE, quality, 8) for channel in levels.split(1, 1)], 1)
    offset = torch.tensor([0.0, 128, 128], device=levels.device).view(1, 3, 1, 1)
    luminance, *chroma = (_mixed(levels, TO_CHROMA) + offset).round().split(1, 1)
    parts = [_component(luminance, LUMINANCE, quality, 16)]
    height, width = levels.shape[2:]
    for full in chroma:
        half = _component(_halved(_padded(full, 16)), CHROMA, quality, 8)
        half = half[:, :, : (height + 1) // 2, : (width + 1) // 2]
        parts.append(_doubled(half)[:, :, :height, :width])
    return _mixed(torch.cat(parts, 1) - offset, FROM_CHROMA).round().clamp(0, 255)


def _mixed(levels: Tensor, weights: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("kc,nchw->nkhw", torch.tensor(weights, device=levels.device), levels)


def _padded(levels: Tensor, multiple: int) -> Tensor:
    height, width = levels.shape[2:]
    return F.pad(levels, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _halved(levels: Tensor) -> Tensor:
    """Means of 2x2; halves and quarters are rounded down and up by turns along a row, as libjpeg does."""
    total = F.avg_pool2d(levels, 2) * 4
    bias = 1 + torch.arange(total.shape[3], device=levels.device) % 2
    return ((total + bias) / 4).floor()


def _doubled(levels: Tensor) -> Tensor:
    """Each new value is three quarters of the nearest old one and a quarter of the next, each way."""
    around = F.pad(levels, (1, 1, 1, 1), mode="replicate")
    middle = 3 * around[:, :, 1:-1]
    rows = torch.stack([middle + around[:, :, :-2], middle + around[:, :, 2:]], 3).flatten(2, 3)
    inner = 3 * rows[..., 1:-1]
    left, right = ((inner + rows[..., :-2] + 8) / 16).floor(), ((inner + rows[..., 2:] + 7) / 16).floor()
    return torch.stack([left, right], 4).flatten(3, 4)


def _component(levels: Tensor, table: tuple[tuple[int, ...], ...], quality: int, multiple: int) -> Tensor:
    """(N, 1, H, W) through the transform of its 8x8 blocks, quantised, and back."""
    height, width = levels.shape[2:]
    padded = _padded(levels, multiple)
    rows, columns = (size // 8 for size in padded.shape[2:])
    blocks = padded.view(-1, rows, 8, columns, 8).transpose(2, 3) - 128
    waves, steps = _waves(levels), _steps(table, quality, levels)
    # Rounded where libjpeg's integers are, for a value just beyond the half of a step changes all of its block.
    eighths = _whole(waves @ _whole(4 * blocks @ waves.T) / 4)
    kept = eighths.sign() * ((eighths.abs() + 4 * steps) / (8 * steps)).floor() * steps
    back = (_whole(_whole(4 * waves.T @ kept) @ waves / 32) + 128).clamp(0, 255)
    return back.transpose(2, 3).reshape(padded.shape)[:, :, :height, :width]


def _whole(values: Tensor) -> Tensor:
    return (values + 0.5).floor()


def _waves(like: Tensor) -> Tensor:
    """(8, 8) cosines: row k is frequency k, its length the root of 8, in the 13 bits that libjpeg keeps."""
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)
    waves = torch.cos((2 * n + 1) * k * torch.pi / 16) * 2**0.5
    waves[0] = 1
    return ((waves * 8192).round() / 8192).to(like)


def _steps(table: tuple[tuple[int, ...], ...], quality: int, like: Tensor) -> Tensor:
    """libjpeg's scaling: 50 is the table itself."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table, device=like.device) * percent + 50) // 100).clamp(1, 255).float()
