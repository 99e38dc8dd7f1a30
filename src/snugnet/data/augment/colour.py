"""Pillow's colour operations on batches, each with a level for every image.

Images are uint8 (N, C, H, W) with C of 1 (gray) or 3 (RGB); factors are float (N,), on any device. Bitwise Pillow's
wherever there is float64; on Apple's cards `autocontrast` may be off by 1 level and `hue` by 5.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from snugnet.data.augment.draw import double, per_image
from snugnet.errors import RecipeError


def luminance(images: Tensor) -> Tensor:
    """(N, 1, H, W): Image.convert("L"), ITU-R 601-2 in 16 bits."""
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise RecipeError(
            f"train.augment: colour operations need images of 1 or 3 channels, these have {images.shape[1]}: "
            "remove the operation, or convert the images"
        )
    red, green, blue = images.int().split(1, 1)
    total: Tensor = red.mul_(19595).add_(green, alpha=38470).add_(blue, alpha=7471).add_(0x8000)
    return (total >> 16).to(torch.uint8)


def blend(base: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """base + factor * (images - base), the fraction cut off: Image.blend, in float32 as there."""
    base = base.float()
    return (images.float().sub_(base).mul_(per_image(factor, images)).add_(base)).clamp_(0, 255).to(torch.uint8)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """0 is black, 1 no change."""
    return blend(torch.zeros(1, device=images.device), images, factor)


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Saturation: 0 is gray, 1 no change. Gray images stay."""
    return images if images.shape[1] == 1 else blend(luminance(images), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """0 is the mean luminance, 1 no change."""
    gray = luminance(images).flatten(1)
    total = gray.sum(1, dtype=torch.int64)
    mean = (2 * total + gray.shape[1]) // (2 * gray.shape[1])  # rounded, a half up
    return blend(mean.view(-1, 1, 1, 1), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """0 is Pillow's SMOOTH (a 3x3 mean whose centre counts five times, borders copied), 1 no change, 2 sharpened."""
    if min(images.shape[2:]) < 3:
        return images
    smooth = images.float()
    inner = smooth[:, :, 1:-1, 1:-1]
    total = F.avg_pool2d(smooth, 3, 1, divisor_override=1).add_(inner, alpha=4)
    smooth[:, :, 1:-1, 1:-1] = total.mul_(1 / 13).add_(0.5).floor_()
    return blend(smooth, images, factor)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the highest `bits` of 8, the fraction cut off."""
    kept = (256 - 2 ** (8 - bits.long())).clamp_(max=255).to(torch.uint8)
    return images & per_image(kept, images)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts what is not below the threshold."""
    return torch.where(images < per_image(threshold, images), images, 255 - images)


def invert(images: Tensor) -> Tensor:
    return 255 - images


def autocontrast(images: Tensor) -> Tensor:
    """Stretches each channel so that its darkest value becomes 0 and its lightest 255."""
    low, high = (value.int() for value in (images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)))
    levels = torch.arange(256, device=images.device)
    span = (high - low).clamp_(min=1).to(double(images))
    scale = torch.full_like(span, 255).div_(span)  # 255 / span is 255 * (1 / span) in torch, and rounds twice
    table = torch.where(high > low, (levels * scale - low * scale).clamp_(0, 255), levels)
    return _looked_up(images, table)


def equalize(images: Tensor) -> Tensor:
    """Makes the values of each channel equally frequent: ImageOps.equalize."""
    count, channels = images.shape[:2]
    values = images.flatten(2).long()
    counts = values.new_zeros(count, channels, 256).scatter_add_(2, values, torch.ones_like(values))
    lightest = images.amax((2, 3)).long()[..., None]
    step = (values.shape[2] - counts.gather(2, lightest)) // 255
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp_(max=255)
    return _looked_up(images, torch.where(step > 0, table, torch.arange(256, device=images.device)))


def _looked_up(images: Tensor, table: Tensor) -> Tensor:
    """Each value through the table of its image and channel: 256 entries on the last axis."""
    table = table.to(torch.uint8).view(*images.shape[:2], 256)
    return table.gather(2, images.flatten(2).long()).view(images.shape)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turns the hue by `turn` of a circle, in [-0.5, 0.5], through Pillow's 8-bit HSV. Gray images stay.

    As torchvision on Pillow images: the turn is cut to 1/255 of a circle.
    """
    if images.shape[1] == 1:
        return images
    hue_, saturation, value = _to_hsv(images)
    turned = (hue_ + per_image((turn.float() * 255).trunc().int(), images)) % 256
    return _from_hsv(turned, saturation, value)


def _to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value, int32 (N, 1, H, W) of 0 to 255. Floats and doubles as in Pillow's Convert.c."""
    wide = double(images)
    values = images.float()
    high, low = values.amax(1, keepdim=True), values.amin(1, keepdim=True)
    from_red, from_green, from_blue = ((high - values) / (high - low).clamp(min=1)).split(1, 1)
    sixth = torch.where(
        values[:, :1] == high,
        from_blue - from_green,
        torch.where(
            values[:, 1:2] == high,
            (2 + from_red.to(wide) - from_blue).float(),
            (4 + from_green.to(wide) - from_red).float(),
        ),
    )
    turn = torch.where(high == low, 0, (sixth.to(wide) / 6 + 1).fmod(1).float())
    strength = (high - low) / high.clamp(min=1)
    return (turn.to(wide) * 255).int(), (strength.to(wide) * 255).int(), high.int()


def _from_hsv(hue_: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse, uint8 (N, 3, H, W)."""
    sector = hue_ * 6 // 255
    rest = hue_.float() * (6 / 255) - sector
    strength = saturation.float() / 255
    fractions = (strength, strength * rest, strength * (1 - rest))
    p, q, t = ((value * (1 - fraction) + 0.5).floor().int() for fraction in fractions)
    channels = ((value, q, p, p, t, value), (t, value, value, q, p, p), (p, p, t, value, value, q))
    place = sector % 6
    return torch.cat([torch.cat(each, 1).gather(1, place.long()) for each in channels], 1).to(torch.uint8)
