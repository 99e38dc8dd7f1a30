"""The learning-rate range test: train while the rate rises, and see where the loss falls and where it breaks away.

Smith 2017, arXiv 1506.01186, section 3.3; aswani22 ran it from 1e-3 to 0.4 over 528 steps, smoothed by 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import nn

from snugnet.config import Frozen
from snugnet.data.loader import TrainLoader
from snugnet.device import Compute
from snugnet.train import mix
from snugnet.train.config import TrainConfig
from snugnet.train.distill import UNTAUGHT, Teaching
from snugnet.train.loop import Learner

DIVERGED = 5.0  # times the least smoothed loss


class RangeConfig(Frozen):
    low: Annotated[float, Field(gt=0, le=100)] = 1e-4
    high: Annotated[float, Field(gt=0, le=100)] = 10.0
    steps: Annotated[int, Field(ge=2, le=1_000_000)] = 200
    rise: Literal["exponential", "linear"] = "exponential"
    smoothing: Annotated[float, Field(gt=0, le=1)] = 0.05  # share of the newest loss in the smoothed one

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high; got {self.low:g} and {self.high:g}")
        return self

    def lr(self, step: int) -> float:
        """Of step `step`, from 0: low at the first, high at the last."""
        done = step / (self.steps - 1)
        if self.rise == "linear":
            return self.low + (self.high - self.low) * done
        return self.low * math.pow(self.high / self.low, done)


@dataclass(frozen=True)
class Point:
    lr: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class Suggestion:
    """Where the loss has begun to fall (a tenth of its whole fall), and where it has nearly done so (nine tenths)."""

    base: float
    highest: float


def sweep(
    model: nn.Module,
    train: TrainLoader,
    config: TrainConfig,
    compute: Compute,
    plan: RangeConfig,
    teaching: Teaching = UNTAUGHT,
) -> Iterator[Point]:
    """Trains `model` in place, a point a batch; ends early where the loss diverges."""
    learner = Learner(model, config, compute, teaching=teaching)
    learner.model.train()
    mixed = mix.build(config.mix, train.seed, train.classes)
    smoothed, least = math.nan, math.inf
    for step in range(plan.steps):
        if learner.step == 0:
            batches = train.epoch(learner.epoch)
        images, labels = next(batches)
        images, labels = mixed(images, labels, learner.epoch, learner.step)
        targets = teaching.targets(images, labels, learner.epoch, learner.step)
        learner.scale_lr(plan.lr(step) / config.optimizer.lr)
        loss = learner.update.step(partial(learner.gradients, images, *targets)).item()
        smoothed = loss if step == 0 else plan.smoothing * loss + (1 - plan.smoothing) * smoothed
        if not math.isfinite(smoothed):
            return
        yield Point(plan.lr(step), loss, smoothed)
        least = min(least, smoothed)
        if smoothed > DIVERGED * least:
            return
        learner.epoch, learner.step = divmod(step + 1, train.steps)


def suggest(points: Sequence[Point]) -> Suggestion | None:
    """None where the loss never fell."""
    if not points:
        return None
    start, least = points[0].smoothed, min(point.smoothed for point in points)
    if not least < start:
        return None

    def reached(share: float) -> float:
        return next(point.lr for point in points if point.smoothed <= start - share * (start - least))

    return Suggestion(base=reached(0.1), highest=reached(0.9))
