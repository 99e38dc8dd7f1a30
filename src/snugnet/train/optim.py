"""Optimisers: torch's own, built from a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from snugnet.config import Frozen

Fraction = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Frozen):
    """`decay_all`: weight decay on biases and norms too, as the papers do; off, only on weights of two or more axes."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0, le=100)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0
    decay_all: bool = True
    momentum: Fraction = 0.9  # sgd
    nesterov: bool = False  # sgd
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)  # adamw
    eps: Annotated[float, Field(gt=0)] = 1e-8  # adamw

    @model_validator(mode="after")
    def _has_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum above 0; got momentum = 0")
        return self

    @property
    def state_tensors(self) -> int:
        """Tensors of a weight's size that the optimiser keeps for each weight."""
        return 2 if self.name == "adamw" else int(self.momentum > 0)


def groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.decay_all or not config.weight_decay:
        return [{"params": parameters, "weight_decay": config.weight_decay}]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def build(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    if config.name == "adamw":
        return torch.optim.AdamW(groups(model, config), lr=config.lr, betas=config.betas, eps=config.eps, fused=True)
    return torch.optim.SGD(
        groups(model, config), lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=True
    )


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Like `load_state_dict`, but each tensor takes the memory layout of its parameter: fused kernels walk both as flat
    memory, and a file keeps no strides."""
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
