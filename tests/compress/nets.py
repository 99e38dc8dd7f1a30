"""Nets with statistics that are not the initial ones, and what is made of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snugnet.compress.config import QuantizeConfig
from snugnet.compress.graph import Graph, Weights, folded, structure
from snugnet.compress.quantize import Quantized, quantized
from snugnet.models.resnet import ResNet, build
from snugnet.models.spec import ModelSpec
from specs import spec

FORMATS = (
    {"weights": "int8"},
    {"weights": "int8", "activations": "float"},
    {"weights": "int4"},
    {"weights": "int4", "group": 8, "first": "int4"},
    {"weights": "int4", "group": 16, "activations": "float", "last": "int4"},
)

RICH = spec(
    {"block": "preact", "blocks": 2, "channels": 6, "se": {"reduction": 2}},
    {"block": "fire", "blocks": 1, "channels": 8, "pool": {"kernel": 2}},
    {"block": "depthwise", "blocks": 2, "channels": 8, "entry": {"pool": {"kernel": 2}}},
    stem={"channels": 5, "pool": {"kernel": 2}, "pool_first": True},
    skips="dense",
    activation="gelu",
    head={"hidden": [7], "norm": True, "dropout": 0.5},
)


def lively(found: ModelSpec) -> ResNet:
    """In evaluation mode; its norms scale, shift and turn round."""
    torch.manual_seed(0)
    model = build(found).eval()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.requires_grad_(False)


def images(found: ModelSpec, count: int = 4) -> Tensor:
    shape = (count, found.in_channels, found.image_size, found.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def taken_apart(found: ModelSpec) -> tuple[ResNet, Graph, Weights]:
    model, graph = lively(found), structure(found)
    return model, graph, folded(graph, model.state_dict())


def rounded(found: ModelSpec, **values: object) -> Quantized:
    _, graph, weights = taken_apart(found)
    return quantized(graph, weights, [images(found)], QuantizeConfig.parse(values))
