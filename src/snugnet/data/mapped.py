"""Pixels that stay in their files: for data sets beyond memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

PART_BYTES = 2**24  # of a set that is gone through in parts


@dataclass(frozen=True)
class Mapped:
    """Stands for a uint8 tensor (N, C, H, W) that only reads: what is asked for is copied from the files, the rest is
    not in memory.

    `files` are memory maps (uint8, each (M, C, H, W)); `places` (int64 (N,)) count through them one after the other.
    `hashes` (uint8 (M, 16), a file each) are `images.content_hashes`, where they are known.
    """

    files: tuple[Any, ...]
    places: Any
    hashes: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, files: Sequence[Any], hashes: Sequence[Any] | None = None) -> Mapped:
        """All that the files hold, in their order."""
        count = sum(len(file) for file in files)
        return cls(tuple(files), np.arange(count), None if hashes is None else tuple(hashes))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.files[0].shape[1:])

    def __getitem__(self, indices: Tensor | list[int]) -> Tensor:
        return torch.from_numpy(_taken(self.files, self.places[np.asarray(indices)]))

    def select(self, indices: Tensor) -> Mapped:
        """A shorter list; no pixel is read."""
        return Mapped(self.files, self.places[indices.numpy()], self.hashes)

    def split(self, size: int) -> Iterator[Tensor]:
        """All of it in parts of `size` images, each read when it is its turn."""
        for start in range(0, len(self), size):
            yield torch.from_numpy(_taken(self.files, self.places[start : start + size]))

    def known_hashes(self) -> list[bytes] | None:
        if self.hashes is None:
            return None
        return [row.tobytes() for row in _taken(self.hashes, self.places)]

    def joined(self, other: Mapped) -> Mapped:
        """This, then `other`."""
        before = sum(len(file) for file in self.files)
        known = None if self.hashes is None or other.hashes is None else self.hashes + other.hashes
        return Mapped(self.files + other.files, np.concatenate([self.places, before + other.places]), known)


Pixels = Tensor | Mapped


def parts(pixels: Pixels) -> Iterator[Tensor]:
    """uint8 (some, C, H, W): all of it in order, never much in memory at once."""
    yield from pixels.split(images_in(PART_BYTES, pixels.shape[1:]))


def images_in(size_bytes: int, shape: Sequence[int]) -> int:
    """How many uint8 images (C, H, W) these bytes hold; at least one."""
    return max(1, size_bytes // int(np.prod(shape)))


def _taken(files: Sequence[Any], places: Any) -> Any:
    """The rows at `places` of the files laid one after the other, copied."""
    rows = np.empty((len(places), *files[0].shape[1:]), np.uint8)
    first = 0
    for file in files:
        here = (places >= first) & (places < first + len(file))
        rows[here] = file[places[here] - first]
        first += len(file)
    return rows
