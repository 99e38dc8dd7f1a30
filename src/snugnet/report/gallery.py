"""The mistakes of a run as a page shows them: each image, and beside it where the net looked."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any

from snugnet.report.heat import overlay
from snugnet.report.mistakes import Mistakes, png


def captioned(images: Mistakes, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A dict a mistake; `maps` are pictures for the predicted and for the true class, where there are any."""
    for number, (image, mistake) in enumerate(zip(images.images, images.mistakes, strict=True)):
        names = classes[mistake.predicted], classes[mistake.true]
        maps = [] if images.maps is None else zip(names, images.maps[number], strict=True)
        yield {
            "picture": picture(png(image)),
            "true": classes[mistake.true],
            "predicted": classes[mistake.predicted],
            "probability": mistake.probability,
            "index": mistake.index,
            "maps": [{"class": name, "picture": picture(png(overlay(image, heat)))} for name, heat in maps],
        }


def picture(data: bytes) -> str:
    return f"data:image/png;base64,{b64encode(data).decode()}"
