"""Nets as their files, and as what is exported of them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from compress.nets import lively, rounded
from snugnet import artifact
from snugnet.artifact import Shipped
from snugnet.data.loader import Normalize
from snugnet.export import runtime
from snugnet.export.emit import onnx_bytes
from snugnet.models.spec import ModelSpec
from specs import card


def shipped(found: ModelSpec, folder: Path, **quantization: object) -> Shipped:
    """Written and read back."""
    plain = card(found, mean=0.4, std=0.3)
    path = folder / "net.safetensors"
    if quantization:
        full = artifact.Card.parse({**plain.plain(), "quantization": quantization})
        half = quantization["weights"] == "float16"
        artifact.write(path, full, lively(found) if half else rounded(found, **quantization))
    else:
        artifact.write(path, plain, lively(found))
    return artifact.read(path)


def exported(net: Shipped, *, raw: bool = False) -> Shipped:
    path = net.path.with_suffix(".onnx")
    path.write_bytes(onnx_bytes(net, raw=raw))
    return runtime.read(path)


def pixels(found: ModelSpec, count: int = 4) -> Tensor:
    shape = (count, found.in_channels, found.image_size, found.image_size)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


def normalised(net: Shipped, count: int = 4) -> Tensor:
    return Normalize(net.card.normalization, torch.device("cpu"))(pixels(net.card.model, count))
