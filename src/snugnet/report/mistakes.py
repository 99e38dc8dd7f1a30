"""The images that a net gets wrong with the most confidence: often wrong labels, often worth a look."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from snugnet.evaluate.mistakes import Mistake, confident_mistakes

__all__ = ["Mistake", "Mistakes", "confident_mistakes", "png"]


@dataclass(frozen=True)
class Mistakes:
    """`images` is uint8 (N, 1 or 3, H, W), one for each mistake; `maps` (N, 2, H, W) are Grad-CAM maps of the layer
    `maps_of`, for the predicted and the true class."""

    images: Tensor
    mistakes: Sequence[Mistake]
    maps: Tensor | None = None
    maps_of: str | None = None


def png(image: Tensor) -> bytes:
    """uint8 (1 or 3, H, W) as a PNG file."""
    pixels = image.cpu().permute(1, 2, 0).squeeze(-1).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()
