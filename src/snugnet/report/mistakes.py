"""The images that a net gets wrong with the most confidence: often wrong labels, often worth a look."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Mistake:
    """`index` is the image's place in its split; `true` and `predicted` are class numbers."""

    index: int
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class Mistakes:
    """`images` is uint8 (N, 1 or 3, H, W), one for each mistake; `maps` (N, 2, H, W) are Grad-CAM maps of the layer
    `maps_of`, for the predicted and the true class."""

    images: Tensor
    mistakes: Sequence[Mistake]
    maps: Tensor | None = None
    maps_of: str | None = None


def confident_mistakes(logits: Tensor, labels: Tensor, count: int = 24) -> list[Mistake]:
    """The most confident first; of equal ones the earlier image."""
    probability, predicted = logits.double().softmax(1).max(1)
    wrong = (predicted != labels).nonzero()[:, 0]
    order = wrong[probability[wrong].argsort(descending=True, stable=True)][:count].tolist()
    return [Mistake(i, int(labels[i]), int(predicted[i]), float(probability[i])) for i in order]


def png(image: Tensor) -> bytes:
    """uint8 (1 or 3, H, W) as a PNG file."""
    pixels = image.cpu().permute(1, 2, 0).squeeze(-1).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()
