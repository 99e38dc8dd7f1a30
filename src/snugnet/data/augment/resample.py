"""Moving pixels: every image of a batch by its own affine or perspective map.

A map is Pillow's: output pixel (x, y) takes its value from (a x + b y + c, d x + e y + f), over g x + h y + 1 for a
perspective, with pixel centres at halves. Maps are float64 (N, 6) or (N, 8) on the CPU. Outside the image is 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from snugnet.data.augment.draw import double

Interpolation = Literal["nearest", "bilinear"]


def resample(images: Tensor, maps: Tensor, interpolation: Interpolation = "nearest") -> Tensor:
    """Images (N, C, H, W) under their maps.

    Nearest: bitwise Pillow's Image.transform, an affine map in its 16-bit fixed point; but for pure scalings, whose
    steps Pillow sums up, so that a source on the border of two pixels may fall to either. Bilinear: at most 1 level
    from Pillow.
    """
    if interpolation == "nearest" and maps.shape[1] == 6:
        return _nearest(images, *_fixed_point(images, maps))
    x, y = _sources(images, maps)
    inside = (x >= 0) & (x < images.shape[3]) & (y >= 0) & (y < images.shape[2])
    if interpolation == "nearest":
        return _nearest(images, x.floor().int(), y.floor().int())
    return _bilinear(images, x, y).masked_fill_(~inside[:, None], 0)


def _centres(images: Tensor) -> tuple[Tensor, Tensor]:
    """x (1, 1, W) and y (1, H, 1) of the pixels, int32."""
    x = torch.arange(images.shape[3], device=images.device, dtype=torch.int32).view(1, 1, -1)
    y = torch.arange(images.shape[2], device=images.device, dtype=torch.int32).view(1, -1, 1)
    return x, y


def _fixed_point(images: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Source columns and rows, int32 (N, H, W), as affine_fixed in Pillow's Geometry.c counts them."""
    a, b, c, d, e, f = maps.unbind(1)
    values = torch.stack([a, b, c + 0.5 * a + 0.5 * b, d, e, f + 0.5 * d + 0.5 * e], 1)
    whole = (values * 65536 + 0.5).floor().to(torch.int32).to(images.device, non_blocking=True)
    a, b, c, d, e, f = (value.view(-1, 1, 1) for value in whole.unbind(1))
    x, y = _centres(images)
    return (a * x + (b * y + c)) >> 16, (d * x + (e * y + f)) >> 16


def _sources(images: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Where output pixels come from: x and y, (N, H, W). Terms are added in Pillow's order."""
    a, b, c, d, e, f, *bottom = (
        value.view(-1, 1, 1) for value in maps.to(double(images)).to(images.device, non_blocking=True).unbind(1)
    )
    x, y = (0.5 + centre.to(a.dtype) for centre in _centres(images))
    across, down = a * x + b * y + c, d * x + e * y + f
    if not bottom:
        return across, down
    depth = bottom[0] * x + bottom[1] * y + 1
    return across / depth, down / depth


def _nearest(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = (y * width + x).masked_fill_(~inside, 0).long().view(count, 1, -1).expand(-1, channels, -1)
    pixels = images.flatten(2).gather(2, index)
    return pixels.mul_(inside.view(count, 1, -1)).view(images.shape)


def _bilinear(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Borders are repeated. Pillow cuts the fraction off; a thousandth more keeps whole values whole in float32."""
    grid = torch.stack([x * (2 / images.shape[3]) - 1, y * (2 / images.shape[2]) - 1], -1).float()
    mixed = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return mixed.to(images.dtype) if images.is_floating_point() else mixed.add_(1e-3).to(images.dtype)


def rotation(degrees: Tensor, images: Tensor) -> Tensor:
    """Counter-clockwise about the centre: Image.rotate."""
    zero = torch.zeros_like(degrees)
    return affine(images, degrees=-degrees, x=zero, y=zero, scale=zero + 1, shear_x=zero, shear_y=zero)


def affine(
    images: Tensor, *, degrees: Tensor, x: Tensor, y: Tensor, scale: Tensor, shear_x: Tensor, shear_y: Tensor
) -> Tensor:
    """Clockwise rotation, scale and shear in degrees about the centre, then a shift in pixels: torchvision's affine."""
    centre_x, centre_y = images.shape[3] / 2, images.shape[2] / 2
    angle, sx, sy = (torch.deg2rad(value.double()) for value in (degrees, shear_x, shear_y))
    a = (angle - sy).cos() / sy.cos()
    b = -a * sx.tan() - angle.sin()
    c = (angle - sy).sin() / sy.cos()
    d = -c * sx.tan() + angle.cos()
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale
    left, top = -centre_x - x.double(), -centre_y - y.double()
    return torch.stack([a, b, a * left + b * top + centre_x, c, d, c * left + d * top + centre_y], 1)


def shear_x(level: Tensor) -> Tensor:
    """x + level * y, from the top left corner (Pillow's and AutoAugment's, arXiv 1805.09501)."""
    return _filled(level, 1)


def shear_y(level: Tensor) -> Tensor:
    return _filled(level, 3)


def translate_x(pixels: Tensor) -> Tensor:
    """To the right by whole pixels, the fraction cut off."""
    return _filled(-pixels.trunc(), 2)


def translate_y(pixels: Tensor) -> Tensor:
    return _filled(-pixels.trunc(), 5)


def _filled(value: Tensor, place: int) -> Tensor:
    """The identity but for one coefficient."""
    maps = torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=torch.float64).repeat(len(value), 1)
    maps[:, place] = value.double()
    return maps


def perspective(images: Tensor, corners: Tensor) -> Tensor:
    """The map that moves an image's corners to `corners` (N, 4, 2): x, y from the top left, clockwise.

    Eight equations an image, solved in float64 and rounded to float32 as torchvision does.
    """
    bottom, right = images.shape[2] - 1, images.shape[3] - 1
    start = torch.tensor([[0, 0], [right, 0], [right, bottom], [0, bottom]], dtype=torch.float64)
    ends = corners.double()
    one, none = torch.ones_like(ends[..., :1]), torch.zeros(len(ends), 4, 3, dtype=torch.float64)
    across = torch.cat([ends, one, none, -start[:, :1] * ends], 2)
    down = torch.cat([none, ends, one, -start[:, 1:] * ends], 2)
    system = torch.stack([across, down], 2).view(-1, 8, 8)
    solution: Tensor = torch.linalg.solve(system, start.view(1, 8, 1).expand(len(ends), 8, 1))
    return solution.squeeze(2).float().double()
