"""What follows from the epochs judged on val so far: which is better, when to drop the rate, when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from snugnet.config import Frozen

DEAD_AFTER = 3  # epochs
Metric = Literal["accuracy", "loss"]
Judged = Sequence[float]  # (loss, accuracy) of an epoch
History = Sequence[Judged]


class StopConfig(Frozen):
    """The training ends once `patience` epochs in a row are no better than the best before them."""

    patience: Annotated[int, Field(ge=1, le=100_000)]
    metric: Metric = "accuracy"


def score(judged: Judged, metric: Metric) -> float:
    """Higher is better; a loss that is no number is worse than any."""
    loss, accuracy = judged
    value = accuracy if metric == "accuracy" else -loss
    return -math.inf if math.isnan(value) else value


def learns_nothing(history: History, chance: float, images: int) -> bool:
    """Whether val accuracy, `DEAD_AFTER` epochs in, was never further above chance than luck takes one of `images`."""
    if len(history) != DEAD_AFTER or not images:
        return False
    luck = 3 * math.sqrt(chance * (1 - chance) / images)
    return max(accuracy for _, accuracy in history) <= chance + luck


def is_over(stop: StopConfig | None, history: History) -> bool:
    if stop is None or not history:
        return False
    scores = [score(judged, stop.metric) for judged in history]
    return len(scores) - 1 - scores.index(max(scores)) >= stop.patience


def drops(history: History, metric: Metric, patience: int, threshold: float) -> int:
    """How often torch's ReduceLROnPlateau (relative threshold, no cooldown) would have dropped the rate."""
    best, waited, dropped = -math.inf, 0, 0
    for judged in history:
        value = score(judged, metric)
        if value > best + threshold * abs(best) or (math.isinf(best) and value > best):
            best, waited = value, 0
        else:
            waited += 1
        if waited > patience:
            waited, dropped = 0, dropped + 1
    return dropped
