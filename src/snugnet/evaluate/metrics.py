"""Measures of a classifier: pure functions of logits (N, C) and labels (N,).

Definitions as scikit-learn's, with zero_division=0. The predicted class is the first of the largest logits. Macro
averages run over all C classes, also those without images; balanced accuracy over those with images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import TypedDict  # pydantic refuses typing's own before Python 3.12

from snugnet.config import Frozen
from snugnet.errors import DataError, Diverged

Z95 = 1.959963984540054
CALIBRATION_BINS = 15
ClassScores = TypedDict(  # written as a call: "class" cannot be an attribute
    "ClassScores",
    {
        "class": str,
        "support": int,
        "accuracy": float,
        "recall": float,
        "precision": float,
        "f1": float,
        "confidence": float,
        "calibration_gap": float,
    },
)


class Scores(Frozen):
    """`confusion[t][p]` counts images of class t taken for p; `loss` is in nats.

    Of a class, accuracy and recall are one number; `confidence` is the mean of the probabilities with which images are
    taken for it, and `calibration_gap` how far that lies above its precision; 0 where none is taken for it.
    """

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    top5: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    balanced_accuracy: float
    ece: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]


def scores(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> Scores:
    """All measures at once. Raises DataError or Diverged on input that has no score."""
    check(logits, labels, classes)
    logits, labels = logits.detach().double().cpu(), labels.cpu()
    matrix = confusion(logits.argmax(1), labels, len(classes))
    precision, recall, f1 = precision_recall_f1(matrix)
    support, confidence = matrix.sum(1), class_confidence(logits)
    return Scores(
        images=len(labels),
        accuracy=accuracy(logits, labels),
        accuracy_interval=wilson(int(matrix.diagonal().sum()), len(labels)),
        loss=negative_log_likelihood(logits, labels),
        top5=top_k(logits, labels, 5),
        macro_precision=precision.mean().item(),
        macro_recall=recall.mean().item(),
        macro_f1=f1.mean().item(),
        balanced_accuracy=recall[support > 0].mean().item(),
        ece=calibration_error(logits, labels),
        per_class=tuple(
            {
                "class": name,
                "support": int(n),
                "accuracy": float(r),
                "recall": float(r),
                "precision": float(p),
                "f1": float(f),
                "confidence": float(c),
                "calibration_gap": float(c - p),
            }
            for name, n, r, p, f, c in zip(classes, support, recall, precision, f1, confidence, strict=True)
        ),
        confusion=tuple(tuple(row) for row in matrix.tolist()),
    )


def check(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    if logits.shape != (len(labels), len(classes)) or not len(labels):
        seen = f"logits {list(logits.shape)}, labels {list(labels.shape)}, {len(classes)} classes"
        raise DataError(f"scores need logits [images, classes] for one image or more; got {seen}: check the split")
    if labels.min() < 0 or labels.max() >= len(classes):
        seen = f"{int(labels.min())} to {int(labels.max())}"
        raise DataError(
            f"labels must be 0 to {len(classes) - 1}; got {seen}: check that the data has the run's classes"
        )
    if bad := int((~logits.isfinite()).any(1).sum()):
        raise Diverged(
            f"logits must be finite; those of {bad:,} of {len(labels):,} images are not: train with a lower lr"
        )


def rank_of_label(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) how many classes come before the label; of equal logits the first class comes first."""
    own = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    return ((logits > own) | ((logits == own) & earlier)).sum(1)


def top_k(logits: Tensor, labels: Tensor, k: int) -> float:
    return (rank_of_label(logits, labels) < k).double().mean().item()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return top_k(logits, labels, 1)


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927): inside [0, 1] and sensible at 0 and 1 too."""
    p, z2 = hits / images, Z95**2
    middle = (p + z2 / (2 * images)) / (1 + z2 / images)
    half = Z95 / (1 + z2 / images) * (p * (1 - p) / images + z2 / (4 * images**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> float:
    return F.cross_entropy(logits.double(), labels).item()


def confusion(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(C, C) counts, rows true, columns predicted."""
    return torch.bincount(labels * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)


def precision_recall_f1(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(C,) each, from a confusion matrix; 0 where a class was never predicted or has no images."""
    hits, predicted, support = matrix.diagonal().double(), matrix.sum(0), matrix.sum(1)
    precision, recall = hits / predicted.clamp(min=1), hits / support.clamp(min=1)
    return precision, recall, 2 * hits / (predicted + support).clamp(min=1)


def calibration(logits: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> tuple[Tensor, Tensor, Tensor]:
    """(bins,) images, mean confidence and accuracy in equal-width bins (low, high] of the largest probability."""
    confidence = logits.double().softmax(1).amax(1)
    place = bin_places(confidence, bins)
    count = torch.bincount(place, minlength=bins)
    hits = torch.bincount(place, (logits.argmax(1) == labels).double(), minlength=bins)
    return count, torch.bincount(place, confidence, minlength=bins) / count.clamp(min=1), hits / count.clamp(min=1)


def bin_places(confidence: Tensor, bins: int) -> Tensor:
    """int64 (N,): which bin each confidence lies in, from 0."""
    return (confidence * bins).ceil().long().clamp(1, bins) - 1


def class_confidence(logits: Tensor) -> Tensor:
    """(C,) mean probability of the images that are taken for each class; 0 where there are none."""
    predicted, classes = logits.argmax(1), logits.shape[1]
    total = torch.bincount(predicted, logits.double().softmax(1).amax(1), minlength=classes)
    return total / torch.bincount(predicted, minlength=classes).clamp(min=1)


def calibration_error(logits: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3)."""
    count, confidence, hit_rate = calibration(logits, labels, bins)
    return (count.double() / len(labels) * (confidence - hit_rate).abs()).sum().item()
