"""A step's forward pass and loss as one compiled function, where a recipe asks for it (`train.compile`).

torch.compile fuses what stands between convolutions and leaves Python out of a step: it helps where a step is bound by
overhead (small nets, small batches) or by memory, and costs its compiling, half a minute to minutes, at the first step.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from snugnet.errors import MissingExtra

Step = Callable[..., Tensor]  # images and the loss's targets to the loss


def build(step: Step, wanted: bool, device: torch.device) -> Step:
    """`step`, compiled where wanted: once for each size of batch and image. On a card its kernels are replayed as one
    graph. Raises MissingExtra without the compiler that torch needs on a CPU."""
    if not wanted:
        return step
    if device.type == "cuda":
        return torch.compile(step, dynamic=False, mode="reduce-overhead")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise MissingExtra(
            f"train.compile: torch.compile needs a C++ compiler, and there is no {compiler}; install g++, or set "
            "train.compile = false"
        )
    return torch.compile(step, dynamic=False)
