"""When a net should say that it does not know: the probability it must give, chosen on images of known classes."""

from __future__ import annotations

from math import ceil
from typing import Literal

import torch
from torch import Tensor

from snugnet import units
from snugnet.config import Frozen
from snugnet.errors import UsageError
from snugnet.evaluate import calibration
from snugnet.evaluate.metrics import wilson
from snugnet.problems import nearest

Measure = Literal["accuracy", "coverage"]
MEASURES: tuple[Measure, ...] = ("accuracy", "coverage")


class Wanted(Frozen):
    """Of the images that are answered so many right; or so many images answered."""

    measure: Measure
    share: float


class Threshold(Frozen):
    """A net answers where its largest probability, logits divided by `temperature`, is at least `probability`. Of
    `images` it answers `answered` then, `right` of them rightly."""

    probability: float
    temperature: float
    images: int
    answered: int
    right: int

    @property
    def words(self) -> str:
        """What it is worth, and why not more."""
        low, high = wilson(self.right, self.answered)
        return (
            f"unsure below a probability of {self.probability:.4f}: on val ({self.images:,} images) "
            f"{units.show_percent(self.answered / self.images)} are answered, "
            f"{units.show_percent(self.right / self.answered)} of them rightly (95 % interval {100 * low:.2f} to "
            f"{100 * high:.2f} %). It was chosen on these very images, so expect less of others, and nothing of images "
            "of another kind"
        )


def parse(text: str) -> Wanted:
    """ "0.99", "99%", "accuracy=0.99", "coverage=0.9". Raises UsageError."""
    name, equals, value = text.rpartition("=")
    measure = name.strip() if equals else "accuracy"
    if measure not in MEASURES:
        known = " or ".join(f"{each}=SHARE" for each in MEASURES)
        raise UsageError(f"--abstain {text}: must be SHARE, or {known}{nearest(measure, MEASURES)}")
    try:
        share = units.parse(value.strip(), {"": 1, "%": 0.01}, "a share")
    except ValueError as error:
        raise UsageError(f"--abstain {text}: {error}") from error
    if not 0 < share <= 1:
        raise UsageError(f"--abstain {text}: must be above 0 and at most 1; got {share:g}")
    return Wanted(measure=measure, share=float(share))


def choose(logits: Tensor, labels: Tensor, wanted: Wanted) -> Threshold:
    """The smallest probability that keeps the wanted accuracy, so that as many as can be are answered; or the largest
    that keeps the wanted coverage. Images of equal probability are answered together. Raises UsageError where even the
    surest are wrong too often."""
    temperature = calibration.temperature(logits, labels) or 1.0
    confidence = confidences(logits, temperature)
    order = confidence.argsort(descending=True, stable=True)
    sure, hits = confidence[order], (logits.argmax(1) == labels)[order].cumsum(0)
    count = torch.arange(1, len(sure) + 1)
    ends = torch.cat([sure[1:] < sure[:-1], torch.tensor([True])])
    accuracy = hits.double() / count
    enough = accuracy >= wanted.share if wanted.measure == "accuracy" else count >= ceil(wanted.share * len(sure))
    places = (ends & enough).nonzero().flatten()
    if not len(places):
        best = int(torch.where(ends, accuracy, -1.0).argmax())
        raise UsageError(
            f"--abstain: no threshold makes {units.show_percent(wanted.share)} of the answers on val right; the best "
            f"is {units.show_percent(accuracy[best].item())} of {best + 1:,} of {len(sure):,} images; want less"
        )
    place = int(places[-1] if wanted.measure == "accuracy" else places[0])
    return Threshold(
        probability=sure[place].item(),
        temperature=temperature,
        images=len(sure),
        answered=place + 1,
        right=int(hits[place]),
    )


def confidences(logits: Tensor, temperature: float) -> Tensor:
    """float64 (N,): the largest probability of each image."""
    return (logits.double() / temperature).softmax(1).amax(1)
