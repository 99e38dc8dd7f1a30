"""Learning-rate schedules as pure functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from snugnet.config import Frozen

Epochs = Annotated[float, Field(ge=0)]


class ScheduleConfig(Frozen):
    """Factor on the optimiser's lr. `per`: whether it moves at every batch or at every epoch.

    Warm-up goes linearly from `warmup_from` to 1 over `warmup_epochs`; the rest of the training is the named curve.
    """

    name: Literal["constant", "cosine", "linear", "step", "multistep"] = "constant"
    per: Literal["batch", "epoch"] = "epoch"
    warmup_epochs: Epochs = 0.0
    warmup_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    final: Annotated[float, Field(ge=0, le=1)] = 0.0  # cosine, linear: the factor at the end
    every: Annotated[int, Field(ge=1)] | None = None  # step: epochs between two drops
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()  # multistep: epochs of the drops
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1  # step, multistep: the factor of a drop

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if (self.name == "step") != (self.every is not None):
            raise ValueError("'every' (epochs between two drops) belongs to name = 'step', and it needs it")
        if (self.name == "multistep") != bool(self.milestones):
            raise ValueError("'milestones' (epochs of the drops) belong to name = 'multistep', and it needs them")
        if any(later <= earlier for earlier, later in pairwise(self.milestones)):
            raise ValueError(f"milestones must rise; got {list(self.milestones)}")
        return self

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The factor in force during batch `step` (from 0, over the whole training)."""
        now = step / steps_per_epoch if self.per == "batch" else float(step // steps_per_epoch)
        if now < self.warmup_epochs:
            tick = 1 / steps_per_epoch if self.per == "batch" else 1.0  # the first batch already learns
            return self.warmup_from + (1 - self.warmup_from) * min(1.0, (now + tick) / self.warmup_epochs)
        return self._curve(now, epochs)

    def _curve(self, now: float, epochs: int) -> float:
        done = (now - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9)
        if self.name == "cosine":
            return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done))
        if self.name == "linear":
            return 1 - (1 - self.final) * done
        if self.name == "step":
            return self.gamma ** (int(now) // (self.every or 1))
        return self.gamma ** bisect_right(self.milestones, now)
