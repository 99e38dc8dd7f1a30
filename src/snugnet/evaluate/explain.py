"""Where in an image a net looks: Grad-CAM, occlusion maps, how they are measured, and the filters of the first layer.

Maps are float32 (N, K, H, W), one for each of K classes asked about, of the images' size, on their device. The net is
in evaluation mode and computes in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet.errors import UsageError
from snugnet.models.resnet import ResNet
from snugnet.problems import nearest


def map_layers(model: nn.Module, where: str = "the net") -> dict[str, nn.Module]:
    """What gives a feature map, by its name in the module tree: the stem; each stage's entry, blocks and pool.

    Raises UsageError of a net in integers, which has no gradients.
    """
    if not isinstance(model, ResNet):
        raise UsageError(
            f"{where}: computes in rounded numbers, which have no gradients; explain the run it was made from"
        )
    stem = {} if isinstance(model.stem, nn.Identity) else {"stem": model.stem}
    stages = [(index, stage) for index, stage in enumerate(model.stages) if isinstance(stage, nn.Sequential)]
    return stem | {f"stages.{index}.{place}": layer for index, stage in stages for place, layer in enumerate(stage)}


def layer_named(model: nn.Module, name: str | None, where: str = "the net") -> tuple[str, nn.Module]:
    """A layer with its name; None is the last map before the head. Raises UsageError, which lists the layers."""
    layers = map_layers(model, where)
    if name is None:
        name = list(layers)[-1]
    if name not in layers:
        known = ", ".join(layers)
        raise UsageError(f"--layer {name}: {where} has no such map{nearest(name, layers)}; give one of {known}")
    return name, layers[name]


def grad_cam(model: nn.Module, images: Tensor, targets: Tensor, layer: nn.Module) -> Tensor:
    """Where `layer` speaks for classes (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2); never negative.

    `images` are normalised, `targets` int64 (N, K). The map of the layer is enlarged bilinearly.
    """
    seen: list[Tensor] = []

    def begin_here(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[0].clone()  # the layers behind may work in place, and gradients are asked for no earlier ones

    handle = layer.register_forward_hook(begin_here)
    try:
        with torch.enable_grad():
            logits = model(images)
    finally:
        handle.remove()
    maps = [_spoken_for(logits.gather(1, target[:, None]).sum(), seen[0]) for target in targets.T]
    return F.interpolate(torch.cat(maps, 1), size=images.shape[-2:], mode="bilinear", align_corners=False)


def _spoken_for(score: Tensor, features: Tensor) -> Tensor:
    """(N, 1, h, w): the sum of the channels, each weighted by the mean slope of the score along it, where positive."""
    (slope,) = torch.autograd.grad(score, features, retain_graph=True)
    return F.relu((slope.mean((2, 3), keepdim=True) * features.detach()).sum(1, keepdim=True))


def patches(size: int, patch: int, stride: int) -> list[tuple[int, int]]:
    """(top, left) of the patches that cover an image of this side; the last of a row ends at the border."""
    starts = [*range(0, size - patch, stride), size - patch]
    return [(top, left) for top in starts for left in starts]


@torch.no_grad()
def occlusion(model: nn.Module, images: Tensor, targets: Tensor, *, patch: int, stride: int, batch_size: int) -> Tensor:
    """How much probability a class loses when a patch is hidden (Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2).

    A pixel has the mean of the patches over it; below zero, the class gains. What is hidden becomes 0, which is the
    mean colour of the training images.
    """
    before = model(images).softmax(1).gather(1, targets)
    lost = images.new_zeros(len(images), targets.shape[1], *images.shape[-2:])
    over = lost.new_zeros(lost.shape[-2:])
    places = patches(images.shape[-1], patch, stride)
    for some in _in_parts(places, max(1, batch_size // len(images))):
        hidden = images.expand(len(some), *images.shape).clone()
        for copy, (top, left) in zip(hidden, some, strict=True):
            copy[..., top : top + patch, left : left + patch] = 0
        said = model(hidden.flatten(0, 1)).softmax(1).view(len(some), len(images), -1)
        for probabilities, (top, left) in zip(said, some, strict=True):
            difference = before - probabilities.gather(1, targets)
            lost[..., top : top + patch, left : left + patch] += difference[..., None, None]
            over[top : top + patch, left : left + patch] += 1
    return lost / over


def _in_parts(places: Sequence[tuple[int, int]], count: int) -> Iterator[Sequence[tuple[int, int]]]:
    for start in range(0, len(places), count):
        yield places[start : start + count]


def concentration(shown: Tensor) -> float | None:
    """The share of the pixels that holds half of what speaks for the class in a map (H, W): 0.5 for an even map, near
    0 for a point; None where nothing does."""
    weight = shown.double().clamp(min=0).flatten().sort(descending=True).values
    if not weight.sum():
        return None
    held = weight.cumsum(0) < weight.sum() / 2
    return (int(held.sum()) + 1) / len(weight)


def agreement(a: Tensor, b: Tensor) -> float | None:
    """The correlation (Pearson's) of two maps (H, W) over their pixels; None where one of them is even."""
    x, y = (each.double().flatten() - each.double().mean() for each in (a, b))
    spread = x.norm() * y.norm()
    return None if not spread else float((x @ y) / spread)


def first_filters(model: nn.Module) -> Tensor:
    """uint8 (filters, 1 or 3, k, k): the first convolution's weights, each filter by itself so that 0 is mid-grey and
    its largest weight black or white. Filters of one or three channels are shown as they are, others as their mean."""
    weight = next(module for module in model.modules() if isinstance(module, nn.Conv2d)).weight.detach().cpu()
    weight = weight if weight.shape[1] in (1, 3) else weight.mean(1, keepdim=True)
    largest = weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    return (127.5 + 127.5 * weight / largest).round().to(torch.uint8)
