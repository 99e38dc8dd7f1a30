"""How much memory a training takes, predicted before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snugnet.artifact import Card
from snugnet.budget import count_params, measure
from snugnet.device import Precision
from snugnet.models.resnet import build_meta
from snugnet.models.spec import ModelSpec
from snugnet.train.config import TrainConfig
from snugnet.units import show_bytes


@dataclass(frozen=True)
class Memory:
    """Bytes: `fixed` for weights, gradients, optimiser, average and teachers; `per_image` for what backward needs."""

    fixed: int
    per_image: int

    def of_batch(self, batch_size: int) -> int:
        return self.fixed + batch_size * self.per_image

    def largest_batch(self, available_bytes: float) -> int:
        return max(0, int((available_bytes - self.fixed) // self.per_image))


def predict(spec: ModelSpec, config: TrainConfig, precision: Precision, teachers: Sequence[Card] = ()) -> Memory:
    """Prices a training step on the meta device. Convolutions under autocast keep two bytes a value.

    Teachers have answered, and let go of their maps, before the student's first is kept.
    """
    model = build_meta(spec).train()
    copies = 2 + config.optimizer.state_tensors + (config.ema is not None)  # weights and gradients, and what is kept
    looked = max((int(measure(card, "peak_activation_bytes")) for card in teachers), default=0)
    most = max(_saved_bytes(model, spec), looked)
    weights = copies * count_params(model) + sum(int(measure(card, "params")) for card in teachers)
    return Memory(fixed=4 * weights, per_image=most if precision == "fp32" else most // 2)


def _saved_bytes(model: nn.Module, spec: ModelSpec) -> int:
    """fp32 bytes that autograd keeps for backward, for one image of two (batch norm wants more than one value)."""
    fixed = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no storage address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # a view of a weight is the weight
        if storage._cdata not in fixed and tensor.is_floating_point():
            alive.append(tensor)
            kept[storage._cdata] = storage.nbytes()
        return tensor

    images = torch.empty(2, spec.in_channels, spec.image_size, spec.image_size, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images)
    return sum(kept.values()) // 2


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error means that memory ran out, also in the user's own code behind it.

    torch has a class for cards, and only words for the CPU.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
        return True
    return error is not None and is_out_of_memory(error.__cause__)


def too_large(memory: Memory, batch_size: int, free_bytes: int, accumulate: int = 1) -> str:
    """What to say of a batch that did not fit, with the largest power of two below it, or its parts, that should."""
    at_once = -(-batch_size // accumulate)
    largest = min(memory.largest_batch(0.8 * free_bytes), at_once - 1)
    part = 2 ** (largest.bit_length() - 1) if largest >= 2 else 0
    remedy = _smaller(batch_size, part, accumulate) if part else "choose a narrower net"
    parts = f" in {accumulate} parts" if accumulate > 1 else ""
    return (
        f"train.batch_size = {batch_size}{parts} takes about {show_bytes(memory.of_batch(at_once))} of memory, "
        f"and {show_bytes(free_bytes)} are free; {remedy}"
    )


def _smaller(batch_size: int, part: int, accumulate: int) -> str:
    """The same batch in more parts, or a smaller one in as many."""
    return f"set train.accumulate={-(-batch_size // part)}, or train.batch_size={part * accumulate}"
