"""Gradients in fp16: the loss is scaled up so that small ones are not lost, and they are scaled down before use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snugnet.device import Compute

State = dict[str, Any]


class Scaling(ABC):
    @abstractmethod
    def scale(self, loss: Tensor) -> Tensor:
        """What backward starts from."""

    @abstractmethod
    def settle(self) -> None:
        """Leaves gradients as if nothing had been scaled; none at all where one overflowed, so that nothing moves."""

    @abstractmethod
    def state(self) -> State:
        """Everything needed to go on."""

    @abstractmethod
    def load(self, state: State) -> None: ...


class NoScaling(Scaling):
    def scale(self, loss: Tensor) -> Tensor:
        return loss

    def settle(self) -> None:
        pass

    def state(self) -> State:
        return {}

    def load(self, state: State) -> None:
        pass


class LossScaling(Scaling):
    """torch's: halved where a gradient overflows, doubled after 2,000 steps without one.

    Micikevicius et al. 2017, arXiv 1710.03740, section 3.2.
    """

    def __init__(self, weights: Sequence[nn.Parameter], device: torch.device) -> None:
        self.weights = [weight for weight in weights if weight.requires_grad]
        self.scaler = torch.amp.GradScaler(device.type)
        self.holder = torch.optim.SGD(self.weights, lr=0.0)  # never steps: the scaler finds weights through optimisers

    def scale(self, loss: Tensor) -> Tensor:
        return self.scaler.scale(loss)

    def settle(self) -> None:
        self.scaler.unscale_(self.holder)
        self.scaler.update()
        found = [weight.grad for weight in self.weights if weight.grad is not None]
        if not bool(torch.stack([gradient.isfinite().all() for gradient in found]).all()):
            for weight in self.weights:
                weight.grad = None

    def state(self) -> State:
        return self.scaler.state_dict()

    def load(self, state: State) -> None:
        self.scaler.load_state_dict(state)


def build(weights: Sequence[nn.Parameter], compute: Compute) -> Scaling:
    return LossScaling(weights, compute.device) if compute.precision == "fp16" else NoScaling()
