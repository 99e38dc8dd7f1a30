"""Batches drawn, augmented and normalised on the device: no worker processes, no copy of an image to the host."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy

import torch
from torch import Generator, Tensor

from snugnet.data import feed
from snugnet.data.augment import Augment, Draw, to_apply
from snugnet.data.config import Normalization
from snugnet.data.copies import NO_COPIES, Copies
from snugnet.data.images import Images
from snugnet.data.mapped import Mapped
from snugnet.device import one_thread

MADE_AT_ONCE = 256 * 32 * 32  # pixels that are augmented together


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from a path of names and numbers: independent streams without shared state."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def pixel_scale(normalization: Normalization) -> tuple[Tensor, Tensor]:
    """What a pixel of each channel is multiplied by, and what is then added: float32 (C,) each."""
    mean, std = torch.tensor(normalization.mean), torch.tensor(normalization.std)
    return 1 / (255 * std), -mean / std


class Normalize:
    """uint8 (N, C, H, W) to float32 (pixel / 255 - mean) / std, channels-last."""

    def __init__(self, normalization: Normalization, device: torch.device) -> None:
        self._scale, self._shift = (each.view(1, -1, 1, 1).to(device) for each in pixel_scale(normalization))

    def __call__(self, images: Tensor) -> Tensor:
        floats = images.to(torch.float32, memory_format=torch.channels_last)
        return floats.mul_(self._scale).add_(self._shift)

    def undo(self, floats: Tensor) -> Tensor:
        """The uint8 images nearest to normalised ones."""
        return ((floats - self._shift) / self._scale).round().clamp(0, 255).to(torch.uint8)


class TrainLoader:
    """Shuffled, augmented batches of a split that lies on the device, or in files.

    Order and draws are functions of (seed, epoch, step) alone, so that an epoch may be entered at any step; they are
    made on the CPU, the same for every device. Small batches are made several at a time, as one would be: a call of
    torch's costs the same for four images as for a hundred. A last batch of one image is left out: batch norm has
    nothing to learn from it. Extra copies are shown as images of their own, and take no memory.
    """

    def __init__(
        self,
        images: Images,
        normalization: Normalization,
        *,
        classes: int,
        batch_size: int,
        augment: Sequence[Augment],
        seed: int,
        device: torch.device,
        copies: Copies = NO_COPIES,
    ) -> None:
        self._labels = images.labels.to(device)
        self._sources = torch.cat([torch.arange(len(images)), copies.sources])  # what is shown: places in the split
        self._feed = feed.build(images.pixels, self._sources, device)
        self._plain = len(images) if copies.only else 0  # the first that many are never augmented
        self._normalize = Normalize(normalization, device)
        self._on_pixels, self._on_floats = to_apply(augment)
        self._batch_size, self._device = batch_size, device
        self._together = max(1, MADE_AT_ONCE // (batch_size * images.pixels.shape[-1] * images.pixels.shape[-2]))
        self.seed, self.classes = seed, classes
        self._drawn = (-1, torch.empty(0, dtype=torch.int64))  # the last epoch that was asked for, and its order

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(len(self._sources), self._batch_size)
        return full + (rest > 1)

    def seen(self, step: int) -> int:
        """Images in the first `step` batches of an epoch."""
        return min(step * self._batch_size, len(self._sources))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(images float32 (N, C, H, W), labels int64 (N,)) from step `start` on."""
        order = self._order(epoch)
        first, size = start - start % self._together, self._together * self._batch_size
        made = self._feed.batches(order, first * self._batch_size, size)
        for step in range(first, self.steps, self._together):
            shown = order[step * self._batch_size :][:size]
            images, labels = self._made(next(made), shown, epoch, step)
            pairs = zip(images.split(self._batch_size), labels.split(self._batch_size), strict=True)
            for number, pair in enumerate(pairs, step):
                if start <= number < self.steps:
                    yield pair

    def places(self, epoch: int, step: int) -> Tensor:
        """int64 (N,): where the images of a batch lie in the split; a copy lies where its image does."""
        return self._sources[self._order(epoch)[step * self._batch_size :][: self._batch_size]]

    def samples(self) -> tuple[Tensor, Tensor]:
        """The first batch as it can be looked at: (uint8 images (N, C, H, W), labels)."""
        images, labels = next(self.epoch(0))
        return self._normalize.undo(images), labels

    def _order(self, epoch: int) -> Tensor:
        if self._drawn[0] != epoch:
            generator = Generator().manual_seed(derived_seed(self.seed, epoch, "order"))
            self._drawn = (epoch, self._feed.order(generator))
        return self._drawn[1]

    def _made(self, pixels: Tensor, shown: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """What is shown from `step` on, augmented and normalised by draws that belong to it, and its labels."""
        generator = Generator().manual_seed(derived_seed(self.seed, epoch, step))
        allowed = shown >= self._plain if self._plain else None
        draw = Draw(generator, shown, epoch, self.seed, allowed)
        place = self._sources[shown].to(self._device, non_blocking=True)
        with one_thread():
            for operation in self._on_pixels:
                pixels = operation(pixels, draw)
            images = self._normalize(pixels)
            for operation in self._on_floats:
                images = operation(images, draw)
        return images, self._labels[place]


Change = Callable[[Tensor, Tensor], Tensor]  # of uint8 images (N, C, H, W) and their places in the split, int64 (N,)


class EvalLoader:
    """A split in its own order, normalised, without augmentation. `change`: what is done to its pixels before.

    Without a normalisation the images are float and normalised already.
    """

    def __init__(
        self,
        images: Images,
        normalization: Normalization | None,
        *,
        batch_size: int,
        device: torch.device,
        change: Change | None = None,
    ) -> None:
        self._pixels = images.pixels if isinstance(images.pixels, Mapped) else images.pixels.to(device)
        self._places = torch.arange(len(images))
        self.labels = images.labels.to(device)
        self._normalize: Callable[[Tensor], Tensor] = (
            Normalize(normalization, device) if normalization else _as_they_are
        )
        self._device, self._change = device, change
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Tensor]:
        for pixels, places in zip(
            self._pixels.split(self.batch_size), self._places.split(self.batch_size), strict=True
        ):
            there = pixels.to(self._device)
            yield self._normalize(self._change(there, places) if self._change else there)

    def only(self, rows: Tensor) -> EvalLoader:
        """The same for some images, int64, in that order; all of them in theirs is the same loader."""
        chosen, on_cpu = copy(self), rows.cpu()
        if not torch.equal(on_cpu, torch.arange(len(self._places))):
            pixels = self._pixels
            chosen._pixels = pixels.select(on_cpu) if isinstance(pixels, Mapped) else pixels[rows.to(self._device)]
            chosen._places, chosen.labels = self._places[on_cpu], self.labels[rows.to(self._device)]
        return chosen


def _as_they_are(images: Tensor) -> Tensor:
    return images.to(torch.float32, memory_format=torch.channels_last)
