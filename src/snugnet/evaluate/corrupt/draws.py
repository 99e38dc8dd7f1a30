"""Random numbers of corruptions: each image has a generator of its own, so that they do not depend on batch or net."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from snugnet.data.loader import derived_seed


class Draws:
    """For N images at `indices` in their split, under one corruption at one strength. Drawn on the CPU."""

    def __init__(self, indices: Tensor, name: str, strength: int, device: torch.device) -> None:
        seeds = (derived_seed("corrupt", name, strength, index) for index in indices.tolist())
        self._generators = [Generator().manual_seed(seed) for seed in seeds]
        self._device = device

    def __len__(self) -> int:
        return len(self._generators)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 (N, *shape) in [low, high)."""
        values = torch.empty(len(self), *shape)
        for row, generator in zip(values, self._generators, strict=True):
            row.uniform_(low, high, generator=generator)
        return values.to(self._device)

    def normal(self, *shape: int) -> Tensor:
        """float32 (N, *shape), mean 0, deviation 1."""
        values = torch.empty(len(self), *shape)
        for row, generator in zip(values, self._generators, strict=True):
            row.normal_(generator=generator)
        return values.to(self._device)

    def poisson(self, rates: Tensor) -> Tensor:
        """Counts with these means, float32 of their shape, N in front."""
        pairs = zip(rates.cpu(), self._generators, strict=True)
        return torch.stack([torch.poisson(own, generator=generator) for own, generator in pairs]).to(self._device)
