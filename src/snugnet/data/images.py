"""Images, and the hash of their pixels that splits, duplicates and digests go by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import torch
from torch import Tensor

from snugnet.data.mapped import Mapped, Pixels, parts

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class DataInfo:
    """What a model must know of a data set. `classes[k]` is the name of label k; `image_size` the side in pixels."""

    name: str
    classes: tuple[str, ...]
    channels: int
    image_size: int


@dataclass(frozen=True)
class Images:
    pixels: Pixels  # uint8 (N, C, H, W), in memory or in files
    labels: Tensor  # int64 (N,)
    names: tuple[str, ...] | None  # file names, where the data set has them

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> Images:
        """The images at `indices` (int64), in that order: copied in memory, listed in files."""
        names = self.names and tuple(self.names[i] for i in indices.tolist())
        pixels = self.pixels.select(indices) if isinstance(self.pixels, Mapped) else self.pixels[indices]
        return Images(pixels, self.labels[indices], names)


def join(first: Images, second: Images) -> Images:
    if not len(second):
        return first
    names = None if first.names is None or second.names is None else first.names + second.names
    return Images(_joined(first.pixels, second.pixels), torch.cat([first.labels, second.labels]), names)


def _joined(first: Pixels, second: Pixels) -> Pixels:
    if isinstance(first, Mapped) and isinstance(second, Mapped):
        return first.joined(second)
    assert isinstance(first, Tensor), "the splits of a source are all in memory, or all in files"
    assert isinstance(second, Tensor)
    return torch.cat([first, second])


def content_hashes(images: Images) -> list[bytes]:
    """16 bytes an image, of its pixels alone: equal for equal pixels whatever the file, its format and its label."""
    known = images.pixels.known_hashes() if isinstance(images.pixels, Mapped) else None
    if known is not None:
        return known
    rows = (row for part in parts(images.pixels) for row in part.flatten(1).contiguous().numpy())
    return [blake2b(row, digest_size=16).digest() for row in rows]


def digest(images: Images) -> str:
    """One number for a set of images and their labels, whatever their order: the sum of a hash of each, mod 2^128."""
    pairs = zip(images.labels.tolist(), content_hashes(images), strict=True)
    each = (blake2b(label.to_bytes(2, "big") + pixels, digest_size=16).digest() for label, pixels in pairs)
    return f"{sum(int.from_bytes(value, 'big') for value in each) % 2**128:032x}"


def held_out(labels: Tensor, hashes: Sequence[bytes], fraction: float) -> Tensor:
    """bool (N,): in each class the `fraction` of images with the lowest hash.

    It depends on the pixels alone, so it never moves with file names or order. Images with equal pixels are all on
    one side, even across classes: with one of them held out, all are.
    """
    by_class: dict[int, list[bytes]] = defaultdict(list)
    for label, value in zip(labels.tolist(), hashes, strict=True):
        by_class[label].append(value)
    chosen = {value for own in by_class.values() for value in sorted(own)[: round(len(own) * fraction)]}
    return torch.tensor([value in chosen for value in hashes], dtype=torch.bool)
