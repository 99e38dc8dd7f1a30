"""Optimisers: torch's own and Muon, built from a recipe, with SAM and Lookahead around any of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from snugnet.config import Frozen
from snugnet.train.muon import Muon
from snugnet.train.update import Lookahead, LookaheadConfig, Plain, Sam, SamConfig, Together, Update

Fraction = Annotated[float, Field(ge=0, lt=1)]
OWN_DEFAULTS: dict[str, dict[str, Any]] = {
    "adadelta": {"eps": 1e-6},  # torch's
    "rmsprop": {"momentum": 0.0},  # torch's
    "muon": {"momentum": 0.95, "nesterov": True},  # Keller Jordan's
}
READ_BY = {
    "momentum": ("sgd", "rmsprop", "muon"),
    "nesterov": ("sgd", "muon"),
    "betas": ("adam", "adamw"),
    "eps": ("adam", "adamw", "adadelta", "rmsprop"),
    "rho": ("adadelta",),
    "alpha": ("rmsprop",),
    "rest": ("muon",),
    "rest_lr": ("muon",),
}  # what stands here for no rule, every rule reads


class OptimizerConfig(Frozen):
    """`decay_all`: weight decay on biases and norms too, as the papers do; off, only on weights of two or more axes.

    Each line says which optimisers read it. A value that the chosen one does not read is allowed, so that
    `--set train.optimizer.name=...` tries another one in a recipe as it stands.
    """

    name: Literal["sgd", "adam", "adamw", "adadelta", "rmsprop", "muon"] = "sgd"
    lr: Annotated[float, Field(gt=0, le=100)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0
    decay_all: bool = True
    momentum: Fraction = 0.9  # sgd, rmsprop (0), muon (0.95)
    nesterov: bool = False  # sgd, muon (true)
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)  # adam, adamw
    eps: Annotated[float, Field(gt=0)] = 1e-8  # adam, adamw, adadelta (1e-6), rmsprop
    rho: Fraction = 0.9  # adadelta: decay of both averages
    alpha: Fraction = 0.99  # rmsprop: decay of the squares
    rest: Literal["sgd", "adamw"] = "sgd"  # muon: what moves all that is no convolution filter
    rest_lr: Annotated[float, Field(gt=0, le=100)] | None = None  # muon: the rest's; else lr
    linear_lr: Annotated[float, Field(gt=0, le=100)] | None = None  # muon: of linear layers' weights; else the rest's
    normalize: bool = False  # muon: filters are scaled to rows of norm 1 before each step, in the mean
    sam: SamConfig | None = None
    lookahead: LookaheadConfig | None = None

    @model_validator(mode="after")
    def _resolved(self) -> Self:
        """Where nothing is given, an optimiser's usual values; past the freeze, as it is still being made."""
        own = OWN_DEFAULTS.get(self.name, {})
        self.__dict__.update({name: own[name] for name in own.keys() - self.model_fields_set})
        if self.name in ("sgd", "muon") and self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum above 0; got momentum = 0")
        return self

    @property
    def unread(self) -> set[str]:
        """The keys that neither the chosen rule nor Muon's for the rest reads."""
        rules = {self.name, self.rest} if self.name == "muon" else {self.name}
        return {key for key, readers in READ_BY.items() if not rules & {*readers}}

    @property
    def state_tensors(self) -> int:
        """Tensors of a weight's size that are kept for each weight: moments, SAM's way back, Lookahead's slow ones."""
        has_momentum = self.momentum > 0
        moments = {"sgd": has_momentum, "rmsprop": 1 + has_momentum, "muon": 1}.get(self.name, 2)
        return moments + (self.sam is not None) + (self.lookahead is not None)


def groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    return _groups([parameter for parameter in model.parameters() if parameter.requires_grad], config)


def _groups(parameters: list[nn.Parameter], config: OptimizerConfig) -> list[dict[str, Any]]:
    if config.decay_all or not config.weight_decay:
        return [{"params": parameters, "weight_decay": config.weight_decay}]
    halves = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [half for half in halves if half["params"]]


def build(model: nn.Module, config: OptimizerConfig) -> Update:
    """From the inside: the rule that moves the weights, SAM that chooses where its gradients are taken, Lookahead."""
    update = (
        _muon(model, config) if config.name == "muon" else Plain(_torch(config.name, groups(model, config), config))
    )
    if config.sam:
        update = Sam(update, model, config.sam)
    return Lookahead(update, model, config.lookahead) if config.lookahead else update


def _plain(model: nn.Module, config: OptimizerConfig) -> Update:
    return Plain(_torch(config.name, groups(model, config), config))


def _torch(name: str, found: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Fused where torch fuses."""
    lr, eps = config.lr, config.eps
    if name == "adam":
        return torch.optim.Adam(found, lr=lr, betas=config.betas, eps=eps, fused=True)
    if name == "adamw":
        return torch.optim.AdamW(found, lr=lr, betas=config.betas, eps=eps, fused=True)
    if name == "adadelta":
        return torch.optim.Adadelta(found, lr=lr, rho=config.rho, eps=eps)
    if name == "rmsprop":
        return torch.optim.RMSprop(found, lr=lr, alpha=config.alpha, eps=eps, momentum=config.momentum)
    return torch.optim.SGD(found, lr=lr, momentum=config.momentum, nesterov=config.nesterov, fused=True)


def _muon(model: nn.Module, config: OptimizerConfig) -> Update:
    """Muon on the convolution filters; biases, norms and linear layers by `rest`."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    filters = [parameter for parameter in learned if parameter.ndim == 4]
    others = [parameter for parameter in learned if parameter.ndim != 4]
    for_rest = config if config.rest_lr is None else config.model_copy(update={"lr": config.rest_lr})
    if config.linear_lr is None:
        rest = _groups(others, config)
    else:
        rest = _groups([parameter for parameter in others if parameter.ndim == 1], config)
        linear = [parameter for parameter in others if parameter.ndim > 1]
        rest += [{"params": linear, "weight_decay": config.weight_decay, "lr": config.linear_lr}]
    momentum, nesterov, normalize = config.momentum, config.nesterov, config.normalize
    return Together(
        Muon(_groups(filters, config), lr=config.lr, momentum=momentum, nesterov=nesterov, normalize=normalize),
        _torch(config.rest, rest, for_rest),
    )
