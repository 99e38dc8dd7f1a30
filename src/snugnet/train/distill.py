"""Distillation: a net learns what teachers say of its images, beside the labels. Hinton et al. 2015, arXiv 1503.02531.

Teachers look at the very images that the student is shown, augmented and mixed, as Beyer et al. 2022 (arXiv 2106.05237)
found best; or they are asked once about the plain ones, which costs one pass in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from snugnet.artifact import Shipped
from snugnet.config import Frozen
from snugnet.data.config import Normalization
from snugnet.data.loader import TrainLoader
from snugnet.device import Compute
from snugnet.errors import RecipeError
from snugnet.train.config import TrainConfig
from snugnet.train.losses import Loss

Criterion = Callable[..., Tensor]  # of logits and the targets of a batch


class DistillConfig(Frozen):
    """The loss is (1 - weight) * that on the labels + weight * T^2 KL(teachers || student) at temperature T.

    T^2 keeps the gradients' size, which falls as 1 / T^2 (Hinton et al., section 2). Of several teachers the mean is
    taken, of logits or of probabilities at the temperature.
    """

    teachers: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]  # see lineage.py
    temperature: Annotated[float, Field(gt=0, le=1000)] = 4.0
    weight: Annotated[float, Field(ge=0, le=1)] = 0.9
    mean_of: Literal["logits", "probabilities"] = "logits"
    cache: bool = False  # asked once about each image, not augmented, before the training

    def loss(self, on_labels: Loss, logits: Tensor, labels: Tensor, said: Tensor) -> Tensor:
        """`said`: the teachers' log-probabilities at the temperature, float32 (N, classes)."""
        own = (logits / self.temperature).log_softmax(1)
        distance = F.kl_div(own, said, reduction="batchmean", log_target=True)
        return (1 - self.weight) * on_labels(logits, labels) + self.weight * self.temperature**2 * distance

    def joined(self, logits: Tensor) -> Tensor:
        """What teachers say together: logits (teachers, N, classes) to log-probabilities at the temperature."""
        if self.mean_of == "logits":
            return (logits.mean(0) / self.temperature).log_softmax(1)
        return (logits / self.temperature).log_softmax(2).logsumexp(0) - math.log(len(logits))


@dataclass(frozen=True)
class Teaching:
    """What teachers add to a training.

    `targets`: normalised images, their labels, epoch and step to all that the loss reads, a row an image in each.
    `criterion`: from the loss on labels to the one that reads those.
    """

    targets: Callable[[Tensor, Tensor, int, int], tuple[Tensor, ...]]
    criterion: Callable[[Loss], Criterion]


UNTAUGHT = Teaching(targets=lambda images, labels, epoch, step: (labels,), criterion=lambda loss: loss)


class Teacher:
    """A shipped net that reads the student's images in its own normalisation, and names classes in the student's order.

    Any net will do that gives logits of normalised images; nothing of it changes.
    """

    def __init__(
        self, shipped: Shipped, classes: Sequence[str], normalization: Normalization, compute: Compute
    ) -> None:
        card, self._compute, self.classes = shipped.card, compute, len(classes)
        model = shipped.model.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._model = model.eval().requires_grad_(False)
        self._seen = renormalized(normalization, card.normalization, compute.device)
        self._columns = torch.tensor([card.classes.index(name) for name in classes], device=compute.device)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """float32 (N, classes)."""
        with self._compute.autocast():
            logits: Tensor = self._model(self._seen(images))
        return logits.float()[:, self._columns]


def renormalized(here: Normalization, there: Normalization, device: torch.device) -> Callable[[Tensor], Tensor]:
    """From images (N, C, H, W) normalised by `here` to the same normalised by `there`."""
    if here == there:
        return lambda images: images
    mean, std, mean_there, std_there = (
        torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)
        for values in (here.mean, here.std, there.mean, there.std)
    )
    scale, shift = (values.float().to(device) for values in (std / std_there, (mean - mean_there) / std_there))
    return lambda images: images * scale + shift


def on_batches(
    config: DistillConfig, teachers: Sequence[Teacher], parts: int, share: Callable[[int], slice]
) -> Teaching:
    """Teachers look at each batch as it comes, once, in `parts` as the student does, and at the rows of this process
    alone: the others' are zeros, which nobody reads."""

    def targets(images: Tensor, labels: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        said = torch.zeros(len(images), teachers[0].classes, device=images.device)
        own = share(len(images))
        size = max(1, -(-(own.stop - own.start) // parts))
        for start in range(own.start, own.stop, size):
            part = slice(start, min(start + size, own.stop))
            said[part] = _said(config, teachers, images[part])
        return labels, said

    return Teaching(targets, lambda loss: partial(config.loss, loss))


def from_memory(
    config: DistillConfig, teachers: Sequence[Teacher], train: TrainLoader, images: Iterable[Tensor]
) -> Teaching:
    """Teachers look at all images of the split now, in its order and not augmented; each batch gets what they said of
    its images. A copy has what its image has."""
    said = torch.cat([_said(config, teachers, part) for part in images])

    def targets(images: Tensor, labels: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        return labels, said[train.places(epoch, step).to(said.device, non_blocking=True)]

    return Teaching(targets, lambda loss: partial(config.loss, loss))


def _said(config: DistillConfig, teachers: Sequence[Teacher], images: Tensor) -> Tensor:
    return config.joined(torch.stack([teacher.logits(images) for teacher in teachers]))


def check(config: DistillConfig | None, train: TrainConfig) -> None:
    """Raises RecipeError where what teachers said of plain images would be no answer."""
    if config and config.cache and train.mix:
        raise RecipeError(
            "distill.cache: cannot go with train.mix, since what teachers say of whole images is no answer to mixed "
            "ones; set distill.cache = false, or leave train.mix out"
        )
