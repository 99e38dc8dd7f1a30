"""Learning-rate schedules as pure functions of the step, and of the epochs judged so far where they watch val."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from snugnet.config import Frozen
from snugnet.train.history import History, Metric, drops

Epochs = Annotated[float, Field(ge=0)]
READ_BY = {
    "final": ("cosine", "linear", "restarts", "one_cycle"),
    "milestones": ("multistep",),
    "gamma": ("step", "multistep", "plateau"),
    "restart_growth": ("restarts",),
    "base": ("one_cycle", "cyclic"),
    "peak_at": ("one_cycle",),
    **dict.fromkeys(("metric", "patience", "threshold"), ("plateau",)),
}  # what stands here for no curve, every curve reads


class ScheduleConfig(Frozen):
    """Factor on the optimiser's lr. `per`: whether it moves at every batch or at every epoch.

    Warm-up goes linearly from `warmup_from` to 1 over `warmup_epochs`; the rest of the training is the named curve.
    """

    name: Literal["constant", "cosine", "linear", "step", "multistep", "restarts", "one_cycle", "cyclic", "plateau"] = (
        "constant"
    )
    per: Literal["batch", "epoch"] = "epoch"
    warmup_epochs: Epochs = 0.0
    warmup_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    final: Annotated[float, Field(ge=0, le=1)] = 0.0  # cosine, linear, restarts, one_cycle: the factor at the end
    every: Annotated[int, Field(ge=1)] | None = None  # step: epochs between two drops
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()  # multistep: epochs of the drops
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1  # step, multistep, plateau: the factor of a drop
    restart_every: Annotated[int, Field(ge=1)] | None = None  # restarts: epochs of the first cycle (SGDR's T_0)
    restart_growth: Annotated[int, Field(ge=1)] = 1  # restarts: each cycle is so many times the last (T_mult)
    base: Annotated[float, Field(ge=0, le=1)] = 0.04  # one_cycle, cyclic: the factor at the foot
    peak_at: Annotated[float, Field(gt=0, lt=1)] = 0.3  # one_cycle: share of the training that climbs
    step_size_up: Annotated[int, Field(ge=1)] | None = None  # cyclic: epochs or batches, by `per`, to the peak
    metric: Metric = "accuracy"  # plateau: what of val is watched
    patience: Annotated[int, Field(ge=0)] = 10  # plateau: epochs without a better one that are let pass before a drop
    threshold: Annotated[float, Field(ge=0, lt=1)] = 1e-4  # plateau: share of the best that better means

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if (self.name == "step") != (self.every is not None):
            raise ValueError("'every' (epochs between two drops) belongs to name = 'step', and it needs it")
        if (self.name == "multistep") != bool(self.milestones):
            raise ValueError("'milestones' (epochs of the drops) belong to name = 'multistep', and it needs them")
        if (self.name == "restarts") != (self.restart_every is not None):
            raise ValueError("'restart_every' (epochs of the first cycle) belongs to name = 'restarts', which needs it")
        if (self.name == "cyclic") != (self.step_size_up is not None):
            raise ValueError("'step_size_up' (moves from foot to peak) belongs to name = 'cyclic', and it needs it")
        if self.name == "plateau" and self.per == "batch":
            raise ValueError("name = 'plateau' needs per = 'epoch': val is judged once an epoch; got 'batch'")
        if self.per == "epoch" and 0 < self.warmup_epochs <= 1:
            raise ValueError(
                f"warmup_epochs = {self.warmup_epochs:g} with per = 'epoch' would do nothing: the first epoch has "
                "the whole rate already; give per = 'batch', or 2 epochs or more"
            )
        if any(later <= earlier for earlier, later in pairwise(self.milestones)):
            raise ValueError(f"milestones must rise; got {list(self.milestones)}")
        return self

    @property
    def unread(self) -> set[str]:
        """The keys that the chosen curve does not read."""
        return {key for key, readers in READ_BY.items() if self.name not in readers}

    def fills(self, epochs: int) -> str | None:
        """What to do about a warm-up in which the whole training passes; None where it ends before."""
        if not epochs or self.warmup_epochs < epochs:
            return None
        shorter = f"{epochs / 6:.2g}" if self.per == "batch" else "0"
        return (
            f"the warm-up ({self.warmup_epochs:g} epochs) fills the whole training of {epochs}: "
            f"give --set train.schedule.warmup_epochs={shorter}"
        )

    def factor(self, step: int, steps_per_epoch: int, epochs: int, history: History = ()) -> float:
        """The factor in force during batch `step` (from 0, over the whole training)."""
        tick = 1 / steps_per_epoch if self.per == "batch" else 1.0  # epochs that a move lasts
        now = step / steps_per_epoch if self.per == "batch" else float(step // steps_per_epoch)
        if now < self.warmup_epochs:  # the first batch already learns
            return self.warmup_from + (1 - self.warmup_from) * min(1.0, (now + tick) / self.warmup_epochs)
        return self._curve(now, tick, epochs, history)

    def _curve(self, now: float, tick: float, epochs: int, history: History) -> float:
        passed, length = now - self.warmup_epochs, max(epochs - self.warmup_epochs, 1e-9)
        if self.name == "cosine":
            return _cosine(1, self.final, passed / length)
        if self.name == "linear":
            return 1 - (1 - self.final) * passed / length
        if self.name == "restarts":
            return self._restarts(passed)
        if self.name == "one_cycle":
            return self._one_cycle(passed / tick, length / tick)
        if self.name == "cyclic":
            return self._cyclic(passed / tick)
        if self.name == "plateau":
            return self.gamma ** drops(history, self.metric, self.patience, self.threshold)
        if self.name == "step":
            return self.gamma ** (int(now) // (self.every or 1))
        return self.gamma ** bisect_right(self.milestones, now)

    def _restarts(self, passed: float) -> float:
        """Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5."""
        cycle = float(self.restart_every or 1)
        while passed >= cycle:
            passed, cycle = passed - cycle, cycle * self.restart_growth
        return _cosine(1, self.final, passed / cycle)

    def _one_cycle(self, move: float, moves: float) -> float:
        """Up and down on two cosines, as torch's OneCycleLR."""
        peak, last = self.peak_at * moves - 1, moves - 1
        if move <= peak:
            return _cosine(self.base, 1, move / peak if peak else 1.0)
        return _cosine(1, self.final, min(1.0, (move - peak) / (last - peak)))

    def _cyclic(self, move: float) -> float:
        """Up and down on straight lines, for ever."""
        up = self.step_size_up or 1
        return self.base + (1 - self.base) * (1 - abs(move / up % 2 - 1))


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))
