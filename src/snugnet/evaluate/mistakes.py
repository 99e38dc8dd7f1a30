"""What a net gets wrong: the images it was surest of, and the classes it takes for each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

MOST_PAIRS = 8


@dataclass(frozen=True)
class Mistake:
    """`index` is the image's place in its split; `true` and `predicted` are class numbers."""

    index: int
    true: int
    predicted: int
    probability: float


def confident_mistakes(logits: Tensor, labels: Tensor, count: int = 24) -> list[Mistake]:
    """The most confident first; of equal ones the earlier image."""
    probability, predicted = logits.double().softmax(1).amax(1), logits.argmax(1)
    wrong = (predicted != labels).nonzero()[:, 0]
    order = wrong[probability[wrong].argsort(descending=True, stable=True)][:count].tolist()
    return [Mistake(i, int(labels[i]), int(predicted[i]), float(probability[i])) for i in order]


def confused_pairs(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of plain Scores: the classes (`true`) taken for another (`predicted`) most often, by share of the true class."""
    classes = scores["per_class"]
    pairs = [
        {"true": classes[i]["class"], "predicted": classes[j]["class"], "images": n, "share": n / classes[i]["support"]}
        for i, row in enumerate(scores["confusion"])
        for j, n in enumerate(row)
        if n and i != j
    ]
    return sorted(pairs, key=lambda pair: -pair["share"])[:MOST_PAIRS]
