"""What bodies are made of: the block they are built from, activations, pools, and modules that torch lacks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet.models.parts import BlockAttention, EfficientAttention, Norm, Pool, SqueezeExcitation
from snugnet.models.spec import ModelSpec, Place, Stage

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),  # safe: batch norm keeps its input for backward, not its output
    "gelu": nn.GELU,
    "silu": lambda: nn.SiLU(inplace=False),
    "hardswish": nn.Hardswish,
    "leaky_relu": lambda: nn.LeakyReLU(0.1, inplace=True),
    "elu": nn.ELU,
    "selu": nn.SELU,
    "mish": nn.Mish,
    "relu6": nn.ReLU6,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}


@dataclass(frozen=True)
class Block:
    """What a body is built from: `size` is the side of the map it reads, `inner` the width inside it where it has one.

    The body maps (N, channels_in, size, size) to (N, channels_out, ceil(size / stride), ceil(size / stride)).
    """

    channels_in: int
    channels_out: int
    stride: int
    stage: Stage
    norm: Norm
    activation: str
    size: int
    inner: int
    conv_bias: bool
    projects: bool = False  # whether its shortcut is a convolution
    drop_path: float = 0.0  # chance that an image skips a body; all but a transformer leave it to what stands around
    is_first: bool = False  # of a stage without an entry: it reads what another stage leaves

    def conv(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
    ) -> nn.Conv2d:
        padding = kernel // 2 if padding is None else padding
        kind = StridedPointwise if kernel == 1 and stride > 1 and not padding else nn.Conv2d
        return kind(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=self.conv_bias)

    def moves(self, stride: int) -> int:
        """The stride of a convolution: 1 where a filter behind it takes it."""
        return 1 if self.stage.blur else stride

    def blurs(self) -> dict[str, nn.Module]:
        """The filter that takes the stride; nothing where there is none."""
        return {"blur": Blur(self.stage.blur, self.stride)} if self.stage.blur and self.stride > 1 else {}

    def batch_norm(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=self.norm.eps, momentum=self.norm.momentum)

    def act(self) -> nn.Module:
        return ACTIVATIONS[self.activation]()

    def conv_norm(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
        conv = self.conv(channels_in, channels_out, kernel, stride)
        return nn.Sequential(OrderedDict(conv=conv, norm=self.batch_norm(channels_out)))


def block_at(spec: ModelSpec, place: Place) -> Block:
    stage = spec.stages[place.stage]
    return Block(
        place.channels_in,
        place.channels_out,
        place.stride,
        stage,
        spec.norm,
        spec.activation,
        size=place.size_in,
        inner=spec.inner(place),
        conv_bias=spec.conv_bias,
        projects=spec.has_projection(place),
        is_first=place.block == 0 and stage.opens,
    )


def pool(spec: Pool) -> nn.Module:
    kind = nn.MaxPool2d if spec.kind == "max" else nn.AvgPool2d
    if spec.blur is None:
        return kind(spec.kernel, spec.stride, spec.padding)
    return nn.Sequential(kind(spec.kernel, 1, spec.padding), Blur(spec.blur, spec.stride or spec.kernel))


class Blur(nn.Sequential):
    """A binomial filter in front of a stride, so that an image moved by a pixel gives nearly the same map (Zhang 2019,
    arXiv 1904.11486): (N, C, H, W) to (N, C, ceil(H/stride), ceil(W/stride)).

    It is size - 1 average pools of 2x2 in a row, which have no weights, and pads with zeros where the paper reflects.
    """

    def __init__(self, size: int, stride: int) -> None:
        count = size - 1
        super().__init__(
            *(
                nn.AvgPool2d(2, stride if number == count - 1 else 1, int(number < count // 2))
                for number in range(count)
            )
        )


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution of the pixels that its stride lands on.

    The same sums as torch's, whose own writes past its memory on CPUs without AVX-512 (oneDNN, channels-last, backward,
    2 to 7 input channels; seen with torch 2.15) and takes up to three times as long there.
    """

    def forward(self, x: Tensor) -> Tensor:
        down, right = self.stride
        return F.conv2d(x[:, :, ::down, ::right], self.weight, self.bias, groups=self.groups)


class SqueezeExcite(nn.Module):
    """(N, C, H, W), each channel scaled by a number in (0, 1) made of the averages of all channels."""

    def __init__(self, channels: int, spec: SqueezeExcitation) -> None:
        super().__init__()
        inner = spec.width(channels)
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))


def shuffled(x: Tensor, groups: int) -> Tensor:
    """(N, C, H, W) with channels in another order: the first of each group, the second of each, ..."""
    apart: Tensor = x.unflatten(1, (groups, -1))
    return apart.transpose(1, 2).flatten(1, 2)


class Shuffle(nn.Module):
    """Channels of several groups mixed, so that convolutions in groups see all (ShuffleNet, Zhang et al. 2017, arXiv
    1707.01083)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return shuffled(x, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class AcrossChannels(nn.Conv1d):
    """A convolution over neighbouring channels, the same for all: (N, C, 1, 1) to (N, C, 1, 1)."""

    def __init__(self, kernel: int) -> None:
        super().__init__(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = super().forward(x.flatten(2).transpose(1, 2))
        return summed.transpose(1, 2).unsqueeze(-1)


class EfficientAttend(nn.Module):
    """(N, C, H, W), each channel scaled by a number in (0, 1) made of the averages of its neighbours."""

    def __init__(self, channels: int, spec: EfficientAttention) -> None:
        super().__init__()
        self.conv = AcrossChannels(spec.neighbours(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x.mean((2, 3), keepdim=True)))


class BlockAttend(nn.Module):
    """(N, C, H, W), each channel scaled by a number in (0, 1), then each place."""

    def __init__(self, channels: int, spec: BlockAttention, norm: Norm) -> None:
        super().__init__()
        inner = spec.width(channels)
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)
        self.conv = nn.Conv2d(2, 1, spec.kernel, padding=spec.kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, eps=norm.eps, momentum=norm.momentum)

    def forward(self, x: Tensor) -> Tensor:
        means, peaks = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        channels = self.excite(torch.relu(self.squeeze(means))) + self.excite(torch.relu(self.squeeze(peaks)))
        x = x * torch.sigmoid(channels)
        seen = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.norm(self.conv(seen)))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016, arXiv 1603.09382): in training a body's output is zero for `rate` of the
    images, and the rest is scaled up, so that evaluation needs nothing."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.rand((len(x), 1, 1, 1), device=x.device) >= self.rate
        return x * (kept / (1 - self.rate)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"
