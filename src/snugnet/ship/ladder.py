"""Which way to a number of bytes costs least: each format, whole or pruned until it fits, tried on val untrained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snugnet import artifact, budget, runs
from snugnet.artifact import Card, Shipped
from snugnet.budget import Budget
from snugnet.compress import channels, integer
from snugnet.compress.config import QuantizeConfig
from snugnet.compress.graph import folded, structure
from snugnet.compress.prune import PruneConfig
from snugnet.compress.quantize import quantized
from snugnet.data import splits
from snugnet.data.images import Images
from snugnet.data.splits import Splits
from snugnet.errors import OverBudget, UsageError
from snugnet.evaluate.metrics import accuracy, negative_log_likelihood
from snugnet.models.resnet import ResNet
from snugnet.scoring import Net, as_many, sample
from snugnet.ship.rounding import FORMATS, suited
from snugnet.ship.shrink import Pruned, Pruning, pruned

SAMPLE = 2_000  # of val that a rung is tried on, and of training images that norms and ranges are taken from
WHOLE = {"float32": None, **FORMATS}


@dataclass(frozen=True)
class Rung:
    """A way to keep a net: in a format, whole or pruned; what it takes, and what val says of it before it learns."""

    format: str
    pruned: Pruned | None
    size_bytes: int
    val_loss: float
    val_accuracy: float

    def plain(self) -> dict[str, Any]:
        left = None if self.pruned is None else sum(group.after for group in self.pruned.groups)
        return {
            "format": self.format,
            "channels": left,
            "bytes": self.size_bytes,
            "val_loss": self.val_loss,
            "val_accuracy": self.val_accuracy,
        }


def climb(run: Path, size_bytes: int, where: torch.device, see: Callable[[Rung], None]) -> tuple[list[Rung], Rung]:
    """Every rung, told as it is tried, and the one that fits and loses least on val. Raises OverBudget, UsageError."""
    record = runs.read_finished(run)
    shipped, data = artifact.read(run / "model.safetensors"), splits.open_splits(record.experiment.data)
    if not isinstance(shipped.model, ResNet):
        raise UsageError(f"{run}: is in integers already; give the run that it was made from")
    if not len(data.val):
        raise UsageError(f"{run}: was trained on all images, and val, which chooses among ways to shrink, is empty")
    rungs = []
    for rung in _rungs(shipped, record.experiment, data, size_bytes, where):
        see(rung)
        rungs.append(rung)
    fitting = [rung for rung in rungs if rung.size_bytes <= size_bytes]
    if not fitting:
        least = min(rungs, key=lambda rung: rung.size_bytes)
        raise OverBudget(
            f"{run}: must be shrunk to {size_bytes:,} B, but is {least.size_bytes:,} B in {least.format}, and the "
            "channels that may go do not make up for the rest; give more, or design a smaller net: snug design --budget"
        )
    return rungs, min(fitting, key=lambda rung: rung.val_loss)


def _rungs(shipped: Shipped, parent: Any, data: Splits, size_bytes: int, where: torch.device) -> Iterator[Rung]:
    for name, given in WHOLE.items():
        config = given and suited(given, shipped.card.model)
        whole = _rung(name, config, None, shipped, data, where)
        yield whole
        if whole.size_bytes <= size_bytes or channels.obstacle(shipped.card.model):
            continue
        pruning = Pruning(f"bytes={size_bytes}", PruneConfig())
        kept = config.shipped if config else None
        try:
            smaller = pruned(shipped, parent, Budget(bytes=size_bytes), pruning, where, kept)
        except OverBudget:
            continue
        yield _rung(name, config, smaller, shipped, data, where)


def _rung(
    name: str,
    config: QuantizeConfig | None,
    smaller: Pruned | None,
    shipped: Shipped,
    data: Splits,
    where: torch.device,
) -> Rung:
    card = smaller.card if smaller else shipped.card
    model = _refreshed(smaller.model, data) if smaller else shipped.model
    kept = card.model_copy(update={"quantization": config.shipped if config else None})
    loss, right = _tried(_in_format(model, card, config, data), data, card, where)
    return Rung(name, smaller, int(budget.measure(kept, "bytes")), loss, right)


def _in_format(model: nn.Module, card: Card, config: QuantizeConfig | None, data: Splits) -> nn.Module:
    if config is None or config.weights == "float16":
        return model
    graph = structure(card.model)
    return integer.module(quantized(graph, folded(graph, model.state_dict()), sample(data, config.images), config))


@torch.no_grad()
def _refreshed(model: ResNet, data: Splits) -> ResNet:
    """The net with statistics of its own: those of the wider one do not fit what a pruned net sees."""
    fresh = copy.deepcopy(model)
    for module in fresh.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.reset_running_stats()
            module.momentum = None  # the mean of all batches
    fresh.train()
    for images in sample(data, SAMPLE):
        fresh(images)
    return fresh.eval()


def _tried(module: nn.Module, data: Splits, card: Card, where: torch.device) -> tuple[float, float]:
    images = _first(data.val)
    logits: Tensor = Net(module.eval().to(where), card.normalization, where).look(images).plain
    return negative_log_likelihood(logits, images.labels), accuracy(logits, images.labels)


def _first(images: Images) -> Images:
    return images.select(torch.arange(min(len(images), as_many(SAMPLE, images))))
