"""Blocks of the user's own, by import path: `block = "mypackage.blocks:MyBlock"`.

The protocol: `MyBlock(block)` is called with a `snugnet.models.layers.Block` and returns the body, an nn.Module from
(N, channels_in, size, size) to (N, channels_out, ceil(size / stride), ceil(size / stride)). Shortcut, skips and
activation are added around it. Importing it runs its code, so nothing is imported unless it was allowed.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from snugnet.errors import RecipeError
from snugnet.models.layers import Block
from snugnet.problems import nearest

_permission = {"granted": False}  # of this process


@contextlib.contextmanager
def code_allowed(allowed: bool = True) -> Iterator[None]:
    """Within it, recipes and shipped files may import code that they name, where `allowed`."""
    before = _permission["granted"]
    _permission["granted"] = allowed
    try:
        yield
    finally:
        _permission["granted"] = before


def body(path: str, block: Block) -> nn.Module:
    """The body that foreign code makes for a block, its output's shape checked. Raises RecipeError."""
    make = _imported(path)
    try:
        made = make(block)
    except Exception as error:  # of code that is not ours
        raise RecipeError(f"block {path}: failed to build ({type(error).__name__}: {error}); correct it") from error
    if not isinstance(made, nn.Module):
        raise RecipeError(f"block {path}: must return a torch.nn.Module; got {type(made).__name__}")
    _check_shape(path, block, made)
    return made


def _imported(path: str) -> Any:
    if not _permission["granted"]:
        raise RecipeError(f"block {path}: runs foreign code, which needs permission; read it, then add --allow-code")
    module, _, name = path.partition(":")
    try:
        found = importlib.import_module(module)
    except Exception as error:  # of code that is not ours
        raise RecipeError(
            f"block {path}: {module} cannot be imported ({type(error).__name__}: {error}); install it, or name its "
            "folder in PYTHONPATH"
        ) from error
    made = getattr(found, name, None)
    if not callable(made):
        raise RecipeError(
            f"block {path}: {module} has nothing to call of the name {name!r}{nearest(name, _callables(found))}"
        )
    return made


def _callables(module: Any) -> list[str]:
    return [name for name in dir(module) if callable(getattr(module, name, None))]


def _check_shape(path: str, block: Block, made: nn.Module) -> None:
    """Runs a copy on the meta device, where it takes no memory and draws no numbers."""
    side = (block.size - 1) // block.stride + 1
    wanted = (1, block.channels_out, side, side)
    image = torch.empty(1, block.channels_in, block.size, block.size, device="meta")
    try:
        with torch.no_grad():
            seen = tuple(copy.deepcopy(made).to("meta").eval()(image).shape)
    except Exception as error:  # of code that is not ours
        raise RecipeError(
            f"block {path}: cannot read a map of {tuple(image.shape)} ({type(error).__name__}: {error}); correct it"
        ) from error
    if seen != wanted:
        raise RecipeError(f"block {path}: must map {tuple(image.shape)} to {wanted}; got {seen}")
