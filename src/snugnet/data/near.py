"""Images that look alike without being equal: the same photograph cut, shifted by a pixel or saved again.

An image is compared by its look: RGB means over 8x8 fields, less their own mean, at length one. Two looks agree by
their product, 1 where one is a brighter or flatter copy of the other. Blank images have no look and are alike to none.
Every image of one split is held against every one of another, in blocks; CIFAR-10's 10,000 by 50,000 take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from snugnet.data.mapped import Pixels, parts

SIDE = 8  # fields
ALIKE = 0.975  # of CIFAR-10's 131 pairs above it 128 are of one class: docs/log.md
FLAT = 4.0  # levels of 255: the spread of fields under which an image is blank
MOST_PAIRS = 5 * 10**9  # beyond which nobody waits
ROWS, COLUMNS = 1024, 8192  # of a block


@dataclass(frozen=True)
class Alike:
    """Image `first` of one split and image `second` of the other, by their places, and the product of their looks."""

    first: int
    second: int
    product: float


def fields(pixels: Pixels) -> Iterator[bytes]:
    """The look of each image (C, H, W) as bytes, one a field and channel."""
    for part in parts(pixels):
        means = F.interpolate(part.float(), (SIDE, SIDE), mode="area")
        yield from (row.tobytes() for row in means.round().to(torch.uint8).flatten(1).numpy())


def alike(first: Sequence[bytes], second: Sequence[bytes], least: float = ALIKE) -> list[Alike]:
    """For each image of the first split that looks like one of the second, the most alike of these."""
    own, others = _looks(first), _looks(second)
    found = []
    for start in range(0, len(own), ROWS):
        products, places = _nearest(own[start : start + ROWS], others)
        for row in (products >= least).nonzero().flatten().tolist():
            found.append(Alike(start + row, int(places[row]), float(products[row])))
    return found


def _nearest(own: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The largest product of each row, and whose it is."""
    best = torch.full((len(own),), -1.0)
    where = torch.zeros(len(own), dtype=torch.int64)
    for start in range(0, len(others), COLUMNS):
        products, places = (own @ others[start : start + COLUMNS].T).max(1)
        better = products > best
        best, where = torch.where(better, products, best), torch.where(better, places + start, where)
    return best, where


def _looks(images: Sequence[bytes]) -> Tensor:
    """float32 (N, fields), rows of length one; of blank images zero."""
    if not images:
        return torch.empty(0, 0)
    rows: Any = np.frombuffer(b"".join(images), np.uint8).reshape(len(images), -1)
    looks = torch.from_numpy(rows.astype(np.float32))
    looks -= looks.mean(1, keepdim=True)
    spread = looks.norm(dim=1, keepdim=True)
    return torch.where(spread > FLAT * looks.shape[1] ** 0.5, looks / spread.clamp_min(1e-12), torch.zeros(()))
