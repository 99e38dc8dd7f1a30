"""What is made small: cross-entropy, or a loss of the user's own, by import path.

The protocol: `MyLoss(**options)` gives what is called with (logits, targets) for every batch and returns the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet import foreign
from snugnet.errors import RecipeError
from snugnet.train import mix
from snugnet.train.config import BALANCED, TrainConfig

Loss = Callable[[Tensor, Tensor], Tensor]


def build(config: TrainConfig, device: torch.device) -> Loss:
    """Logits float32 (N, classes) and targets, int64 (N,) or float32 (N, classes) where they are mixed, to a scalar.

    Raises RecipeError.
    """
    if foreign.is_path(config.loss):
        return _foreign(config, device)
    if config.class_weights is not None:
        assert config.class_weights != BALANCED, "`weighed` knows the training images"
        weights = torch.tensor(config.class_weights, device=device)
        return partial(weighted_cross_entropy, weights=weights, smoothing=config.label_smoothing)
    return partial(F.cross_entropy, label_smoothing=config.label_smoothing)


def weighed(config: TrainConfig, labels: Tensor, classes: int) -> TrainConfig:
    """The same with class weights in numbers. "balanced": as one over the images of the class among `labels`, with a
    mean of 1 over all of them. Raises RecipeError where there is not a number a class."""
    given = config.class_weights
    if given is None:
        return config
    if given == BALANCED:
        counts = torch.bincount(labels.cpu(), minlength=classes).double()
        given = tuple((len(labels) / (classes * counts)).tolist())
    if len(given) != classes:
        raise RecipeError(
            f"train.class_weights: must have a number a class, {classes} in the order of their names; got "
            f"{len(given)}; correct it, or give {BALANCED!r}"
        )
    return config.model_copy(update={"class_weights": given})


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """The mean over images of the cross-entropy of each, times the weight of its class.

    A mixed image has the sum of its classes' weighted losses in their shares, so that the loss stays linear in the
    targets. It is divided by the number of images and not, as torch has it for labels, by the sum of their weights:
    parts of a batch then add up to the whole, and shares and labels agree.
    """
    shares = F.one_hot(targets, logits.shape[1]).float() if targets.ndim == 1 else targets
    logs, weighted = logits.log_softmax(1), shares * weights
    own, even = (weighted * logs).sum(1), weighted.sum(1) * logs.mean(1)
    return -((1 - smoothing) * own + smoothing * even).mean()


def try_out(config: TrainConfig, classes: int) -> None:
    """Runs the loss once on targets of each kind that the training will have. Raises RecipeError."""
    loss = build(weighed(config, torch.arange(classes), classes), torch.device("cpu"))
    labels = torch.arange(2)
    mixed = mix.soft_targets(labels, labels.flip(0), 0.75, classes)
    share = config.mix.p if config.mix else 0.0
    for targets in ([labels] if share < 1 else []) + ([mixed] if share > 0 else []):
        logits = torch.linspace(-1, 1, 2 * classes).view(2, classes).requires_grad_()
        value = loss(logits, targets)
        with foreign.explained(f"loss {config.loss}: has no gradient"):
            value.backward()


def _foreign(config: TrainConfig, device: torch.device) -> Loss:
    """A loss of the user's own; buffers of a module lie on the device."""
    subject = f"loss {config.loss}"
    own = foreign.made("loss", config.loss, config.loss_options)
    if isinstance(own, nn.Module):
        if next(own.parameters(), None) is not None:
            raise RecipeError(f"{subject}: has parameters, which nothing would train; keep numbers in buffers")
        own.to(device)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        given = f"logits {_words(logits)} and targets {_words(targets)}"
        with foreign.explained(f"{subject}: cannot judge {given}"):
            value = own(logits, targets)
        if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
            raise RecipeError(f"{subject}: must return one number, a float tensor without axes; got {_words(value)}")
        if not value.requires_grad:
            raise RecipeError(f"{subject}: must be differentiable in the logits; got a value without a gradient")
        return value

    return loss


def _words(value: object) -> str:
    """ "float32 (2, 10)", or what else it is."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
