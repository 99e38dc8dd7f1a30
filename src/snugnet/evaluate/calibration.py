"""Does a net know how sure it may be? What its confidence is worth, and the temperature that mends it."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from scipy.optimize import brentq
from torch import Tensor

from snugnet.config import Frozen
from snugnet.evaluate.metrics import (
    CALIBRATION_BINS,
    bin_places,
    calibration,
    calibration_error,
    negative_log_likelihood,
)

NEARLY = 0.02  # an error that is more than luck, but below this, seldom matters
DRAWS = 200  # of the hits that a calibrated net would have
LUCK = 0.95  # so many of the draws have an error of at most `ece_by_chance`
FLATTERED = "fitted on the very images that are judged, which flatters it"
NOT_FITTED = "no temperature is fitted: "
Known = tuple[Tensor, Tensor] | None  # logits of val and its labels
LARGEST = 1e150  # of 1 / T; a logit gap that needs more is none

Verdict = Literal["yes", "nearly", "no"]
Direction = Literal["overconfident", "underconfident", "mixed"]


class Bin(Frozen):
    """The images whose largest probability lies in (low, high]."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


class Calibration(Frozen):
    """`confidence` is the mean of the largest probabilities; `calibrated` holds the error against what luck gives."""

    calibrated: Verdict
    direction: Direction
    confidence: float
    ece_by_chance: float
    worst_bin: Bin
    bins: tuple[Bin, ...]


def describe(logits: Tensor, labels: Tensor) -> Calibration:
    """Of logits (N, C): whether they are calibrated, and where least; bins without images are left out.

    The worst bin is the one that adds most to the error: its gap times its share of the images.
    """
    logits, labels = logits.detach().double().cpu(), labels.cpu()
    count, confidence, accuracy = calibration(logits, labels)
    bins = [
        Bin(low=k / CALIBRATION_BINS, high=(k + 1) / CALIBRATION_BINS, images=int(n), confidence=c, accuracy=a)
        for k, (n, c, a) in enumerate(zip(count, confidence.tolist(), accuracy.tolist(), strict=True))
        if n
    ]
    error, luck = calibration_error(logits, labels), error_by_chance(logits)
    gap = (count.double() / len(labels) * (confidence - accuracy)).sum().item()
    return Calibration(
        calibrated="yes" if error <= luck else "nearly" if error < NEARLY else "no",
        direction="mixed" if abs(gap) <= error / 2 else "overconfident" if gap > 0 else "underconfident",
        confidence=logits.softmax(1).amax(1).mean().item(),
        ece_by_chance=luck,
        worst_bin=max(bins, key=lambda b: b.images * abs(b.confidence - b.accuracy)),
        bins=tuple(bins),
    )


def error_by_chance(logits: Tensor) -> float:
    """What the error stays under in 95 % of all cases when every confidence is true: it is never 0 on few images.

    Consistency resampling (Broecker and Smith 2007): hits are drawn with the probabilities that the net states.
    """
    confidence = logits.double().softmax(1).amax(1).cpu()
    place = bin_places(confidence, CALIBRATION_BINS)
    stated = torch.bincount(place, confidence, minlength=CALIBRATION_BINS)
    generator = torch.Generator().manual_seed(0)
    errors = torch.empty(DRAWS, dtype=torch.float64)
    for draw in range(DRAWS):
        hits = (torch.rand(len(place), generator=generator) < confidence).double()
        errors[draw] = (stated - torch.bincount(place, hits, minlength=CALIBRATION_BINS)).abs().sum() / len(place)
    return errors.quantile(LUCK).item()


def scaled(logits: Tensor, labels: Tensor, known: Known) -> dict[str, Any]:
    """The temperature that suits val best, and what it does to these logits; nulls, and why, where there is none."""
    best = temperature(*known) if known else None
    note = None
    if best is None:
        lacks = "on val it is right throughout, or no better than chance" if known else "the val split is empty"
        note = NOT_FITTED + lacks
    return {
        "temperature": best,
        "temperature_images": len(known[1]) if known else 0,
        "temperature_note": note,
        "loss_scaled": negative_log_likelihood(logits.double() / best, labels) if best else None,
        "ece_scaled": calibration_error(logits.double() / best, labels) if best else None,
    }


def temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The T that gives logits / T the least negative log-likelihood (Guo et al. 2017, section 4.2), in float64.

    The likelihood is concave in 1 / T: its slope has one root, found between two points of unlike sign. None where it
    has no root: every image right (the surest is the best), or labels no likelier than chance.
    """
    logits = logits.detach().double().cpu()
    own = logits.gather(1, labels.cpu()[:, None])[:, 0]

    def slope(log_inverse: float) -> float:
        probabilities = (logits * math.exp(log_inverse)).softmax(1)
        return ((probabilities * logits).sum(1) - own).mean().item()

    if (logits.mean(1) - own).mean() >= 0 or (logits.amax(1) - own).mean() <= 0:
        return None
    low = high = -math.log(max((logits.amax(1) - logits.amin(1)).mean().item(), 1 / LARGEST))
    while slope(low) >= 0 and low > -math.log(LARGEST):
        low -= 1
    while slope(high) <= 0 and high < math.log(LARGEST):
        high += 1
    if not slope(low) < 0 < slope(high):
        return None
    return math.exp(-brentq(slope, low, high, xtol=1e-12))
