"""How the pixels of a batch come to the device: from a tensor that lies there, or from files by way of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor

from snugnet.data.mapped import Mapped, Pixels, images_in

BLOCK_BYTES = 2**20  # read in one run
WINDOW_BYTES = 2**27  # shuffled in memory; two or three of them are held
Item = TypeVar("Item")
Made = TypeVar("Made")


class Feed(Protocol):
    def order(self, generator: Generator) -> Tensor:
        """int64 (shown,): one epoch's order of what is shown."""

    def batches(self, order: Tensor, start: int, size: int) -> Iterator[Tensor]:
        """uint8 (size, C, H, W) on the device, of `order` from its place `start` on."""


def build(pixels: Pixels, sources: Tensor, device: torch.device) -> Feed:
    """`sources` (int64): the image behind each thing that is shown."""
    return FromFiles(pixels, sources, device) if isinstance(pixels, Mapped) else Resident(pixels, sources, device)


class Resident:
    """The whole set lies on the device, and its order is any permutation."""

    def __init__(self, pixels: Tensor, sources: Tensor, device: torch.device) -> None:
        self._pixels, self._sources, self._device = pixels.to(device), sources, device

    def order(self, generator: Generator) -> Tensor:
        return torch.randperm(len(self._sources), generator=generator)

    def batches(self, order: Tensor, start: int, size: int) -> Iterator[Tensor]:
        for shown in order[start:].split(size):
            yield self._pixels[self._sources[shown].to(self._device, non_blocking=True)]


class FromFiles:
    """The set lies in files, which are read in runs, a window ahead of the training.

    What is shown, as it lies in the files, is cut into blocks; blocks are shuffled, cut into windows of a fixed number
    of images, and each window is shuffled. So everything is shown once an epoch, and an epoch that is entered anywhere
    reads nothing before the window it enters.
    """

    def __init__(self, pixels: Mapped, sources: Tensor, device: torch.device) -> None:
        self._pixels, self._sources, self._device = pixels, sources, device
        self._ranked = torch.from_numpy(pixels.places[sources.numpy()]).argsort(stable=True)
        self._block, self._window = (images_in(size, pixels.shape[1:]) for size in (BLOCK_BYTES, WINDOW_BYTES))

    def order(self, generator: Generator) -> Tensor:
        blocks = self._ranked.split(self._block)
        rows = torch.cat([blocks[block] for block in torch.randperm(len(blocks), generator=generator).tolist()])
        windows = rows.split(self._window)
        return torch.cat([window[torch.randperm(len(window), generator=generator)] for window in windows])

    def batches(self, order: Tensor, start: int, size: int) -> Iterator[Tensor]:
        edges = range(start - start % self._window, len(order), self._window)
        windows = ahead(self._read, (order[max(start, edge) : edge + self._window] for edge in edges))
        for batch in rebatched(windows, size):
            yield batch.to(self._device, non_blocking=True)

    def _read(self, shown: Tensor) -> Tensor:
        """uint8 (N, C, H, W) in the order of `shown`, read in the order of the files."""
        wanted = self._sources[shown]
        forward = np.argsort(self._pixels.places[wanted.numpy()], kind="stable")
        pinned = self._device.type == "cuda"
        pixels = torch.empty(len(shown), *self._pixels.shape[1:], dtype=torch.uint8, pin_memory=pinned)
        for rows in torch.from_numpy(forward).split(self._block):
            pixels.numpy()[rows.numpy()] = self._pixels[wanted[rows]].numpy()  # lets the training go on meanwhile
        return pixels


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """What `make` makes of each item, the next one being made while the last is used."""
    with ThreadPoolExecutor(1) as pool:
        coming: Future[Made] | None = None
        for item in items:
            made, coming = coming, pool.submit(make, item)
            if made is not None:
                yield made.result()
                del made  # before the next but one is begun
        if coming is not None:
            yield coming.result()


def rebatched(tensors: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """The rows of all tensors in batches of `size`, the last one shorter."""
    begun: list[Tensor] = []
    for tensor in tensors:
        missing = size - sum(map(len, begun))
        for part in (tensor[:missing], *tensor[missing:].split(size)):
            begun.append(part)
            if sum(map(len, begun)) == size:
                yield begun[0] if len(begun) == 1 else torch.cat(begun)
                begun = []
    if sum(map(len, begun)):
        yield torch.cat(begun)
