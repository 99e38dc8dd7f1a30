"""How one batch moves the weights: a rule of torch's, and what may stand around it."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from snugnet.config import Frozen

State = dict[str, Any]
Gradients = Callable[[], Tensor]  # the batch's loss at the weights as they are; leaves its gradients in them


class SamConfig(Frozen):
    """Sharpness-aware minimisation: gradients are taken where the loss is worst within `rho`. Two passes a batch.

    Foret et al. 2021, arXiv 2010.01412. `adaptive`: distances relative to the weights' sizes (ASAM, Kwon et al. 2021,
    arXiv 2102.11600, which takes rho = 0.5 on CIFAR-10).
    """

    rho: Annotated[float, Field(gt=0, le=10)] = 0.05
    adaptive: bool = False


class LookaheadConfig(Frozen):
    """Every `k` batches the slow weights go `alpha` of the way to the fast ones, which start again from there.

    Zhang et al. 2019, arXiv 1907.08610, algorithm 1. At the end of a training the fast ones are judged and shipped.
    """

    k: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5


class Update(ABC):
    @property
    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """torch's parameter groups, whose "lr" a schedule sets; torch makes new ones when it loads."""

    @abstractmethod
    def step(self, gradients: Gradients) -> Tensor:
        """Moves the weights; returns the batch's loss where they were."""

    @abstractmethod
    def state(self) -> State:
        """Everything needed to go on, not copied."""

    @abstractmethod
    def load(self, state: State) -> None: ...


class Plain(Update):
    """One pass, one rule."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def step(self, gradients: Gradients) -> Tensor:
        loss = gradients()
        self.optimizer.step()
        return loss

    def state(self) -> State:
        return self.optimizer.state_dict()

    def load(self, state: State) -> None:
        load_state(self.optimizer, state)


class Together(Update):
    """One pass; each rule moves weights of its own."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self, gradients: Gradients) -> Tensor:
        loss = gradients()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state(self) -> State:
        return {"each": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load(self, state: State) -> None:
        for optimizer, own in zip(self.optimizers, state["each"], strict=True):
            load_state(optimizer, own)


class Sam(Update):
    """Climb, look, come back, step. Running statistics see the first pass only: the second is not where we are."""

    def __init__(self, inner: Update, model: nn.Module, config: SamConfig) -> None:
        self.inner, self.model, self.rho = inner, model, config.rho
        learned = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        self.weights: list[Tensor] = [weight for _, weight in learned]
        self.scaled = [config.adaptive and name.endswith("weight") for name, _ in learned]

    @property
    def groups(self) -> list[dict[str, Any]]:
        return self.inner.groups

    def step(self, gradients: Gradients) -> Tensor:
        loss = gradients()
        if all(weight.grad is None for weight in self.weights):  # they overflowed in fp16
            return loss
        home = [weight.detach().clone() for weight in self.weights]
        self._climb()
        with statistics_kept(self.model):
            gradients()
        with torch.no_grad():
            torch._foreach_copy_(self.weights, home)
        return self.inner.step(lambda: loss)

    @torch.no_grad()
    def _climb(self) -> None:
        """w += rho T^2 g / |T g|; T is 1, or |w| + 0.01 for adaptive weights, 1 for biases as in ASAM's code."""
        pairs = zip(self.weights, self.scaled, strict=True)
        scales = [weight.abs() + 0.01 if scaled else torch.ones_like(weight) for weight, scaled in pairs]
        gradients = [weight.grad for weight in self.weights]
        slopes = [scale * slope for scale, slope in zip(scales, gradients, strict=True) if slope is not None]
        length = torch.stack([slope.norm() for slope in slopes]).norm()
        for weight, scale, slope in zip(self.weights, scales, slopes, strict=True):
            weight.add_(scale * slope * (self.rho / (length + 1e-12)))

    def state(self) -> State:
        return self.inner.state()

    def load(self, state: State) -> None:
        self.inner.load(state)


class Lookahead(Update):
    def __init__(self, inner: Update, model: nn.Module, config: LookaheadConfig) -> None:
        self.inner, self.k, self.alpha, self.steps = inner, config.k, config.alpha, 0
        self.fast: list[Tensor] = [weight for weight in model.parameters() if weight.requires_grad]
        self.slow = [weight.detach().clone() for weight in self.fast]

    @property
    def groups(self) -> list[dict[str, Any]]:
        return self.inner.groups

    def step(self, gradients: Gradients) -> Tensor:
        loss = self.inner.step(gradients)
        self.steps += 1
        if self.steps % self.k == 0:
            with torch.no_grad():
                torch._foreach_lerp_(self.slow, self.fast, self.alpha)
                torch._foreach_copy_(self.fast, self.slow)
        return loss

    def state(self) -> State:
        return {"inner": self.inner.state(), "slow": self.slow, "steps": self.steps}

    def load(self, state: State) -> None:
        self.inner.load(state["inner"])
        torch._foreach_copy_(self.slow, [slow.to(self.slow[0].device) for slow in state["slow"]])
        self.steps = state["steps"]


@contextlib.contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch norms normalise by their batch and leave their running statistics alone."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def load_state(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Like `load_state_dict`, but each tensor takes the memory layout of its parameter: fused kernels walk both as flat
    memory, and a file keeps no strides."""
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
