"""Exponential moving average of weights and running statistics."""

from __future__ import annotations

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from snugnet.config import Frozen


class EmaConfig(Frozen):
    """average += (1 - decay) * (weights - average) each step; the decay rises to its value as (1 + n) / (10 + n).

    `every` n steps are taken at once with decay ** n: one pass over the weights instead of n.
    """

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    every: Annotated[int, Field(ge=1, le=10_000)] = 1


class Ema:
    """Holds the averaged net. `model` is what is evaluated and shipped."""

    def __init__(self, source: nn.Module, config: EmaConfig) -> None:
        self.model = copy.deepcopy(source).requires_grad_(False).eval()
        self._config = config
        pairs = list(zip(self.model.state_dict().values(), source.state_dict().values(), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step `step`, counted from 1 over the whole training."""
        every = self._config.every
        if step % every:
            return
        updates = step // every
        decay = min(self._config.decay**every, (1 + updates) / (10 + updates))
        averages: list[Tensor] = [average for average, _ in self._floats]
        torch._foreach_lerp_(averages, [value for _, value in self._floats], 1 - decay)
        for average, value in self._counters:
            average.copy_(value)


class NoEma:
    """Averaging switched off: the net itself is evaluated and shipped."""

    def __init__(self, source: nn.Module) -> None:
        self.model = source

    def update(self, step: int) -> None:
        pass
