"""A shipped net as a torch.export program: what PyTorch runs without this package."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from snugnet.artifact import KEY, Shipped
from snugnet.data.config import Normalization
from snugnet.data.loader import pixel_scale
from snugnet.export.pixels import module_of

REMARKS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")  # where a node came from


class Whole(nn.Module):
    """uint8 images (N, C, H, W) to probabilities and logits (N, classes)."""

    def __init__(self, net: nn.Module, constants: Normalization) -> None:
        super().__init__()
        self.net = net
        self.scale, self.shift = (nn.Buffer(each.view(1, -1, 1, 1)) for each in pixel_scale(constants))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(images.float() * self.scale + self.shift)
        return logits.softmax(1), logits


def program_bytes(shipped: Shipped, *, raw: bool = False) -> bytes:
    """The .pt2 file of a net, with the card beside the program: uint8 images (N, C, H, W) to (probabilities, logits);
    `raw`: normalised float images to logits."""
    spec = shipped.card.model
    net = shipped.model if raw else Whole(shipped.model, shipped.card.normalization)
    # Two images: the number of one alone would be taken for fixed.
    images = torch.zeros(2, spec.in_channels, spec.image_size, spec.image_size, dtype=None if raw else torch.uint8)
    file = io.BytesIO()
    with _silent():
        program = torch.export.export(net.eval(), (images,), dynamic_shapes=({0: torch.export.Dim("N")},))
        for node in program.graph.nodes:
            for remark in REMARKS:
                node.meta.pop(remark, None)
        torch.export.save(program, file, extra_files={f"{KEY}.json": shipped.card.text()})
    return file.getvalue()


def read_program(path: Path, shipped: Shipped, *, raw: bool) -> Shipped:
    """A program that was just written of a net, read again. Others' are not for us: reading one may run code."""
    with _silent():
        program = torch.export.load(path).module()

    def logits(images: Tensor) -> Tensor:
        found: Tensor = program(images) if raw else program(images)[1]
        return found

    return Shipped(path, path.stat().st_size, shipped.card, module_of(logits, shipped.card, raw=raw))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what torch says of its own insides."""
    logger = logging.getLogger("torch.export")
    before, logger.disabled = logger.disabled, True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.disabled = before
