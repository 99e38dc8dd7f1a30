"""Blocks of the user's own, by import path: `block = "mypackage.blocks:MyBlock"`.

The protocol: `MyBlock(block)` is called with a `snugnet.models.layers.Block` and returns the body, an nn.Module from
(N, channels_in, size, size) to (N, channels_out, ceil(size / stride), ceil(size / stride)). Shortcut, skips and
activation are added around it.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from snugnet import foreign
from snugnet.errors import RecipeError
from snugnet.models.layers import Block


def body(path: str, block: Block) -> nn.Module:
    """The body that foreign code makes for a block, its output's shape checked. Raises RecipeError."""
    make = foreign.imported("block", path)
    with foreign.explained(f"block {path}: failed to build"):
        made = make(block)
    if not isinstance(made, nn.Module):
        raise RecipeError(f"block {path}: must return a torch.nn.Module; got {type(made).__name__}")
    _check_shape(path, block, made)
    return made


def _check_shape(path: str, block: Block, made: nn.Module) -> None:
    """Runs a copy on the meta device, where it takes no memory and draws no numbers."""
    side = (block.size - 1) // block.stride + 1
    wanted = (1, block.channels_out, side, side)
    image = torch.empty(1, block.channels_in, block.size, block.size, device="meta")
    with foreign.explained(f"block {path}: cannot read a map of {tuple(image.shape)}"), torch.no_grad():
        seen = tuple(copy.deepcopy(made).to("meta").eval()(image).shape)
    if seen != wanted:
        raise RecipeError(f"block {path}: must map {tuple(image.shape)} to {wanted}; got {seen}")
