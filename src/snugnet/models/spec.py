"""A flexible ResNet as data.

The knobs of avvari24 (section "Methodology") are the fields: N is the number of stages, B_i `blocks`, C_i `channels`,
F_i `kernel`, K_i `shortcut.kernel`, P `head.kernel`. The list form of aswani22 is `["basic", 3, 64, 0.1, 3]`:
block, blocks, channels, dropout, kernel.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from snugnet.config import Frozen

BlockName = Literal["basic", "bottleneck", "single"]
ActivationName = Literal["relu", "gelu", "silu", "hardswish", "leaky_relu"]
Init = Literal["torch", "kaiming_fan_out"]

Count = Annotated[int, Field(ge=1, le=65_536)]


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError(
            f"a kernel inside a block must be odd, so that body and shortcut meet at one size; got {kernel}"
        )
    return kernel


Kernel = Annotated[int, Field(ge=1, le=11)]
OddKernel = Annotated[Kernel, AfterValidator(_odd)]
Stride = Annotated[int, Field(ge=1, le=8)]
Probability = Annotated[float, Field(ge=0, lt=1)]

LIST_FORM = ("block", "blocks", "channels", "dropout", "kernel")


class Norm(Frozen):
    """Batch normalisation; `momentum` in PyTorch's sense, the weight of the new batch."""

    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    eps: Annotated[float, Field(gt=0)] = 1e-5


class Pool(Frozen):
    """A pooling layer."""

    kind: Literal["max", "avg"] = "max"
    kernel: Kernel = 2
    stride: Stride | None = None  # None: the kernel
    padding: Annotated[int, Field(ge=0, le=5)] = 0

    @model_validator(mode="after")
    def _padding_is_small(self) -> Self:
        if 2 * self.padding > self.kernel:
            raise ValueError(f"padding must be at most half the kernel of {self.kernel}; got {self.padding}")
        return self

    def size_after(self, size: int) -> int:
        return (size + 2 * self.padding - self.kernel) // (self.stride or self.kernel) + 1


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

    def size_after(self, size: int) -> int:
        padding = self.kernel // 2 if self.padding is None else self.padding
        size = (size + 2 * padding - self.kernel) // self.stride + 1
        return size if self.pool is None or size < 1 else self.pool.size_after(size)


class Shortcut(Frozen):
    """What is added to a block's body: "projection" is the identity where shapes agree and a convolution elsewhere."""

    kind: Literal["projection", "none"] = "projection"
    kernel: OddKernel = 1
    norm: bool = True


class Entry(Frozen):
    """A plain convolution, norm and activation that opens a stage, so that all its blocks keep width and size.

    With a pool, the map shrinks between convolution and norm; without, by the stage's stride.
    """

    kernel: OddKernel = 3
    pool: Pool | None = None


class Stage(Frozen):
    """`blocks` residual blocks of one width; the first has the stride, unless an entry takes it."""

    block: BlockName = "basic"
    blocks: Annotated[int, Field(ge=0, le=1000)]  # 0 only behind an entry
    channels: Count  # of each block's output, before the width multiplier
    stride: Stride | None = None  # None: 1 in the first stage or with a pooling entry, 2 elsewhere
    entry: Entry | None = None
    kernel: OddKernel = 3
    dropout: Probability = 0.0  # inside each block, after its first activation
    reduction: Count = 4  # bottleneck only: its inner width is channels / reduction
    shortcut: Shortcut | None = None  # None: the model's
    pool: Pool | None = None  # after the last block

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        if not isinstance(data, (list, tuple)):
            return data
        if not 3 <= len(data) <= len(LIST_FORM):
            raise ValueError(f"a stage as a list is [{', '.join(LIST_FORM)}], the last two optional; got {list(data)}")
        return dict(zip(LIST_FORM, data, strict=False))

    @model_validator(mode="after")
    def _has_layers(self) -> Self:
        if self.blocks == 0 and self.entry is None:
            raise ValueError("blocks = 0 leaves the stage empty; give it blocks, or an entry")
        return self

    @property
    def shrinks_by_pool(self) -> bool:
        return self.entry is not None and self.entry.pool is not None

    def size_after(self, size: int, stride: int) -> int:
        size = (size - 1) // stride + 1
        if self.entry is not None and self.entry.pool is not None:
            size = self.entry.pool.size_after(size)
        return size if self.pool is None else self.pool.size_after(size)


class Head(Frozen):
    """Pooling, hidden linear layers (each with the activation), dropout, and the classifier."""

    pool: Literal["avg", "max"] = "avg"
    kernel: Count | None = None  # None: adaptive, to 1x1; else the map is pooled by this kernel and flattened
    hidden: tuple[Count, ...] = ()
    dropout: Probability = 0.0  # before the classifier

    def size_after(self, size: int) -> int:
        return 1 if self.kernel is None else size // self.kernel


class ModelSpec(Frozen):
    """A whole network, from (N, in_channels, image_size, image_size) to (N, classes)."""

    in_channels: Annotated[int, Field(ge=1, le=64)] = 3
    image_size: Annotated[int, Field(ge=4, le=1024)] = 32
    classes: Annotated[int, Field(ge=2, le=100_000)] = 10
    width: Annotated[float, Field(gt=0, le=64)] = 1.0  # multiplies the channels of stem and stages
    stem: Stem = Stem()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=32)]
    shortcut: Shortcut = Shortcut()
    head: Head = Head()
    norm: Norm = Norm()
    activation: ActivationName = "relu"
    init: Init = "torch"

    @model_validator(mode="after")
    def _maps_are_large_enough(self) -> Self:
        sizes = self.map_sizes()
        last = len(self.stages)
        for where, size in enumerate(sizes):
            if size < 1:
                name = "stem" if where == 0 else f"stages.{where - 1}" if where <= last else "head.kernel"
                seen = self.image_size if where == 0 else sizes[where - 1]
                raise ValueError(
                    f"{name} shrinks a {seen}x{seen} map to nothing; use smaller strides, pools or kernels"
                )
        return self

    @model_validator(mode="after")
    def _whitening_has_filters(self) -> Self:
        most = 2 * self.stem.kernel**2 * self.in_channels
        if self.stem.whiten and (self.stem_channels > most or self.stem_channels % 2):
            raise ValueError(
                f"stem.channels with stem.whiten must be even and at most 2 * kernel^2 * in_channels = {most}; "
                f"got {self.stem_channels}"
            )
        return self

    def scaled(self, channels: int) -> int:
        """Channels times the width multiplier, to the nearest integer and at least 1."""
        return max(1, round(channels * self.width))

    @property
    def stem_channels(self) -> int:
        if self.stem.whiten and self.stem.channels:  # as many as there are patches to tell apart, at any width
            return self.stem.channels
        return self.scaled(self.stem.channels or self.stages[0].channels)

    def stride(self, index: int) -> int:
        """The stride of a stage's first convolution."""
        stage = self.stages[index]
        return stage.stride or (1 if index == 0 or stage.shrinks_by_pool else 2)

    def map_sizes(self) -> list[int]:
        """Sides of the square feature maps after the stem, after each stage and after the head's pooling."""
        sizes = [self.stem.size_after(self.image_size)]
        for index, stage in enumerate(self.stages):
            sizes.append(stage.size_after(sizes[-1], self.stride(index)))
        return [*sizes, self.head.size_after(sizes[-1])]
