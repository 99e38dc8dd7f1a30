"""Values that a net starts from, where torch's own are not wanted."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from snugnet.errors import RecipeError
from snugnet.models.blocks import Residual
from snugnet.models.bodies import last_norms
from snugnet.models.spec import ModelSpec

CONVS: dict[str, Callable[[Tensor], object]] = {
    "kaiming_fan_in": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="relu"),
    "kaiming_fan_out": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"),
    "xavier": nn.init.xavier_normal_,
}


def initialise(model: nn.Module, spec: ModelSpec) -> None:
    """Sets the weights of convolutions by `spec.init`, closing norms to zero and the classifier's scale where wanted.

    Raises RecipeError."""
    blocks = [module for module in model.modules() if isinstance(module, Residual)]
    if spec.init in CONVS:
        _each_conv(model, CONVS[spec.init])
    elif spec.init == "identity":
        for stage in model.get_submodule("stages").children():
            for block in stage.children():  # residual blocks and entries; shortcuts stay random
                _each_conv(block.body if isinstance(block, Residual) else block, _pass_through)
    if spec.zero_last_norm:
        for block in blocks:
            _silence(block.body)
    if spec.head.start != 1:
        for value in model.get_submodule("head.classifier").parameters():
            value.detach().mul_(spec.head.start)


def _each_conv(model: nn.Module, change: Callable[[Tensor], object]) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            change(module.weight)


def _pass_through(weight: Tensor) -> None:
    """The first filters hand on their channels, one each, as in airbench; further filters stay random."""
    nn.init.dirac_(weight.detach()[: weight.shape[1]])


def _silence(body: nn.Module) -> None:
    norms = last_norms(body)
    if not norms:
        raise RecipeError(f"model.zero_last_norm: needs bodies that end in a norm; {type(body).__name__} does not")
    for norm in norms:
        nn.init.zeros_(norm.weight)
