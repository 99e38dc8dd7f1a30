"""The parts of a specification: each a frozen table of a recipe, with the size of the map that leaves it."""

from __future__ import annotations

from math import ceil, log2
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, create_model, model_validator

from snugnet.config import Frozen

MOST_CHANNELS = 65_536
Count = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
Kernel = Annotated[int, Field(ge=1, le=11)]
Stride = Annotated[int, Field(ge=1, le=8)]
Probability = Annotated[float, Field(ge=0, lt=1)]

EVEN = "a kernel inside a block must be odd, so that body and shortcut meet at one size"


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError(f"{EVEN}; got {kernel}")
    return kernel


OddKernel = Annotated[Kernel, AfterValidator(_odd)]


Blur = Literal[3, 5, 7]  # side of a binomial filter


class Norm(Frozen):
    """Batch normalisation; `momentum` in PyTorch's sense, the weight of the new batch."""

    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    eps: Annotated[float, Field(gt=0)] = 1e-5
    learn_scale: bool = True  # off: scales stay 1, as in the speed records; shifts are learned


class Pool(Frozen):
    """A pooling layer."""

    kind: Literal["max", "avg"] = "max"
    kernel: Kernel = 2
    stride: Stride | None = None  # None: the kernel
    padding: Annotated[int, Field(ge=0, le=5)] = 0
    blur: Blur | None = None  # it moves by 1, and a binomial filter of this size takes the stride

    @model_validator(mode="after")
    def _padding_is_small(self) -> Self:
        if 2 * self.padding > self.kernel:
            raise ValueError(f"padding must be at most half the kernel of {self.kernel}; got {self.padding}")
        return self

    def size_after(self, size: int) -> int:
        return (size + 2 * self.padding - self.kernel) // (self.stride or self.kernel) + 1


class SqueezeExcitation(Frozen):
    """Each channel is scaled by what all channels are on average (Hu et al. 2017, arXiv 1709.01507)."""

    reduction: Count = 16  # width between the two convolutions: channels / reduction
    inner: Count | None = None  # or this, whatever the width multiplier is

    @model_validator(mode="after")
    def _uses_what_is_given(self) -> Self:
        if self.inner is not None and self.reduction != 16:
            raise ValueError("inner and reduction both say the inner width; give one")
        return self

    def width(self, channels: int) -> int:
        """Channels between its two convolutions."""
        return self.inner or max(1, channels // self.reduction)


class EfficientAttention(Frozen):
    """Each channel is scaled by what it and its neighbours are on average (ECA, Wang et al. 2019, arXiv 1910.03151)."""

    kernel: OddKernel | None = None  # neighbours, itself included; None: by the paper's rule, from the channels

    def neighbours(self, channels: int) -> int:
        """The paper's equation 12 with gamma 2 and b 1, to the odd number above."""
        return self.kernel or int((log2(channels) + 1) / 2) // 2 * 2 + 1


class BlockAttention(SqueezeExcitation):
    """Channels are scaled by their averages and largest values, then places by those over the channels (CBAM, Woo et
    al. 2018, arXiv 1807.06521)."""

    kernel: OddKernel = 7  # of the convolution over places


class Conv(Frozen):
    """What stands for a KxK convolution, from I to O channels.

    "bsconv-u": 1x1 to O, then KxK of each channel alone; "bsconv-s": 1x1 to a share of I (at least 4), 1x1 to O, KxK of
    each channel alone (Haase and Amthor 2020, arXiv 2003.13549). "low-rank": KxK to a share of the fewer of I and O,
    then 1x1 to O. "repvgg": KxK, 1x1 and, where shapes agree, the identity, a norm behind each, summed; one convolution
    in the file (Ding et al. 2021, arXiv 2101.03697), which is "merged": with a bias, without a norm behind.
    """

    kind: Literal["bsconv-u", "bsconv-s", "low-rank", "repvgg", "merged"]
    share: Annotated[float, Field(gt=0, le=1)] = 0.25  # bsconv-s, low-rank
    norm: bool = False  # bsconv, low-rank: a norm behind each convolution but the last

    @model_validator(mode="after")
    def _uses_what_is_given(self) -> Self:
        if self.share != 0.25 and self.kind not in ("bsconv-s", "low-rank"):
            raise ValueError(f"share belongs to bsconv-s and low-rank; got {self.kind}")
        if self.norm and self.is_whole:
            raise ValueError(f"norm belongs to bsconv-u, bsconv-s and low-rank; got {self.kind}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it does without a norm behind it."""
        return self.kind in ("repvgg", "merged")

    def middle(self, channels_in: int, channels_out: int) -> int:
        """The width inside bsconv-s, as its authors' code has it, and inside low-rank."""
        if self.kind == "bsconv-s":
            return min(channels_in, max(4, ceil(self.share * channels_in)))
        return ceil(self.share * min(channels_in, channels_out))


class Stem(Frozen):
    """The first convolution, its norm and activation, and a pool.

    `pool_first`: the pool stands between convolution and norm, where it makes the norm cheaper.
    `whiten`: no norm; the filters are frozen, set once from the training images so that patches come out decorrelated
    and of equal variance, each filter with its negative; `channels` is then at most 2 * kernel^2 * in_channels.
    """

    channels: Count | None = None  # None: those of the first stage
    kernel: Kernel = 3
    stride: Stride = 1
    padding: Annotated[int, Field(ge=0, le=5)] | None = None  # None: kernel // 2
    pool: Pool | None = None
    pool_first: bool = False
    whiten: bool = False
    se: SqueezeExcitation | None = None  # last of all
    conv: Conv | None = None  # what stands for the convolution
    bare: bool = False  # neither norm nor activation: those of pre-activation blocks follow
    norm_input: bool = False  # batch norm of the image, first of all

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.conv is not None and (self.conv.is_whole or self.whiten):
            given = "whiten" if self.whiten else self.conv.kind
            raise ValueError(f"conv of a stem must be bsconv-u, bsconv-s or low-rank, without whiten; got {given}")
        if self.bare and (self.whiten or self.pool_first):
            raise ValueError("bare leaves neither norm nor activation; leave whiten and pool_first out")
        return self

    def size_after(self, size: int) -> int:
        padding = self.kernel // 2 if self.padding is None else self.padding
        size = (size + 2 * padding - self.kernel) // self.stride + 1
        return size if self.pool is None or size < 1 else self.pool.size_after(size)


class Shortcut(Frozen):
    """What is added to a block's body.

    "projection" is the identity where shapes agree and a convolution elsewhere; "first" a convolution in the first
    block of a stage, whatever the shapes, and the identity in the others; "always" a convolution everywhere.
    """

    kind: Literal["projection", "first", "always", "none"] = "projection"
    kernel: OddKernel = 1
    norm: bool = True


class Entry(Frozen):
    """A plain convolution, norm and activation that opens a stage, so that all its blocks keep width and size.

    With a pool, the map shrinks between convolution and norm; without, by the stage's stride.
    """

    kernel: OddKernel = 3
    pool: Pool | None = None

    def size_after(self, size: int, stride: int) -> int:
        size = (size - 1) // stride + 1
        return size if self.pool is None else self.pool.size_after(size)


class _Skip(Frozen):
    """A way past blocks: what enters block `from` is also added to the sum of block `to`, through a 1x1 convolution
    and a norm. Blocks are numbered from 1 over the whole net."""

    to: Count

    @property
    def start(self) -> int:
        return int(getattr(self, "from"))


Skip = create_model("Skip", __base__=_Skip, **{"from": (Count, ...)})  # type: ignore[call-overload]  # a keyword


class Head(Frozen):
    """Pooling, hidden linear layers (each with a norm if wanted, and the activation), dropout, and the classifier."""

    pool: Literal["avg", "max", "attention", "flatten"] = "avg"  # "flatten": none, each place of the map is an input
    kernel: Count | None = None  # None: adaptive, to 1x1; else the map is pooled by this kernel and flattened
    hidden: tuple[Count, ...] = ()
    norm: bool = False  # batch norm behind each hidden layer
    dropout: Probability = 0.0  # before the classifier
    start: Annotated[float, Field(gt=0, le=100)] = 1.0  # factor on the classifier's first weights and biases

    @model_validator(mode="after")
    def _uses_what_is_given(self) -> Self:
        if self.pool in ("flatten", "attention") and self.kernel is not None:
            raise ValueError(f"kernel must be left out where pool is {self.pool!r}; got {self.kernel}")
        if self.norm and not self.hidden:
            raise ValueError("norm stands behind hidden layers; give hidden, or leave norm out")
        return self

    def size_after(self, size: int) -> int:
        if self.pool == "flatten":
            return size
        return 1 if self.kernel is None else size // self.kernel
