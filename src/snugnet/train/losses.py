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
from snugnet.train.config import TrainConfig

Loss = Callable[[Tensor, Tensor], Tensor]


def build(config: TrainConfig, device: torch.device) -> Loss:
    """Logits float32 (N, classes) and targets, int64 (N,) or float32 (N, classes) where they are mixed, to a scalar.

    Raises RecipeError.
    """
    if foreign.is_path(config.loss):
        return _foreign(config, device)
    return partial(F.cross_entropy, label_smoothing=config.label_smoothing)


def try_out(config: TrainConfig, classes: int) -> None:
    """Runs the loss once on targets of each kind that the training will have. Raises RecipeError."""
    loss = build(config, torch.device("cpu"))
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
