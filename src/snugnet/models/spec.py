"""A flexible ResNet as data.

The knobs of avvari24 (section "Methodology") are the fields: N is the number of stages, B_i `blocks`, C_i `channels`,
F_i `kernel`, K_i `shortcut.kernel`, P `head.kernel`. The list form of aswani22 is `["basic", 3, 64, 0.1, 3]`:
block, blocks, channels, dropout, kernel. tu24's nets are stages of one block with a pool, a stride of 1, and skips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from snugnet import foreign
from snugnet.config import Frozen
from snugnet.models.parts import (
    EVEN,
    MOST_CHANNELS,
    BlockAttention,
    Blur,
    Conv,
    Count,
    EfficientAttention,
    Entry,
    Head,
    Kernel,
    Norm,
    Pool,
    Probability,
    Shortcut,
    Skip,
    SqueezeExcitation,
    Stem,
    Stride,
)
from snugnet.problems import nearest

BLOCKS = ("basic", "bottleneck", "single", "preact", "wide", "depthwise", "fire", "shuffle", "transformer")
WITH_INNER = ("basic", "bottleneck", "preact", "wide", "fire", "shuffle", "transformer")
PREACT = ("preact", "wide")
POSTACT = ("basic", "bottleneck", "single")  # a norm behind each KxK
WITH_CONV = {
    "bsconv-u": (*POSTACT, *PREACT),
    "bsconv-s": (*POSTACT, *PREACT),
    "low-rank": (*POSTACT, *PREACT),
    "repvgg": POSTACT,
    "merged": POSTACT,
}
ActivationName = Literal[
    "relu", "gelu", "silu", "hardswish", "leaky_relu", "elu", "selu", "mish", "relu6", "tanh", "softplus"
]
Init = Literal["torch", "kaiming_fan_in", "kaiming_fan_out", "xavier", "identity"]

LIST_FORM = ("block", "blocks", "channels", "dropout", "kernel")
_MOST_DENSE = 64  # blocks; their skips are a convolution a pair


def _known_block(block: str) -> str:
    if block not in BLOCKS and not foreign.is_well_formed(block):
        known = ", ".join(BLOCKS)
        raise ValueError(f"must be one of {known} or {foreign.FORM}; got {block!r}{nearest(block, BLOCKS)}")
    return block


def _as_tuple(value: Any) -> Any:
    """TOML and JSON have lists where the fields are tuples."""
    return tuple(value) if isinstance(value, list) else value


def _widths(value: Any) -> Any:
    """One width, or a list of them."""
    each = value if isinstance(value, (list, tuple)) else (value,)
    if each and all(type(width) is int and 1 <= width <= MOST_CHANNELS for width in each):
        return _as_tuple(value)
    raise ValueError(f"must be a whole number from 1 to {MOST_CHANNELS}, or one for each block; got {value!r}")


BlockName = Annotated[str, AfterValidator(_known_block)]
Widths = Annotated[int | tuple[int, ...], BeforeValidator(_widths)]
Proportion = Annotated[tuple[Count, Count], BeforeValidator(_as_tuple)]


class Stage(Frozen):
    """`blocks` residual blocks of one width; the first has the stride, unless an entry takes it."""

    block: BlockName = "basic"
    blocks: Annotated[int, Field(ge=0, le=1000)]  # 0 only behind an entry
    channels: Count  # of each block's output, before the width multiplier
    stride: Stride | None = None  # None: 1 in the first stage or with a pooling entry, 2 elsewhere
    entry: Entry | None = None
    kernel: Kernel = 3
    even: Literal["padding", "pool"] | None = None  # how a basic block keeps the map's size with an even kernel
    conv: Conv | None = None  # what stands for the KxK convolutions of a body
    groups: Count = 1  # bottleneck: of its KxK; shuffle: of its 1x1; widths are rounded to multiples of it
    blur: Blur | None = None  # convolutions with a stride move by 1, and a binomial filter of this size takes it
    repeat: Annotated[int, Field(ge=1, le=100)] = 1  # times that each block runs in a row, all but one that opens
    heads: Count = 4  # transformer: of attention; widths are rounded to multiples of it
    positions: bool = False  # transformer: a number is learned for each channel of each place, in front of the blocks
    dropout: Probability = 0.0  # inside each block, after its first activation
    reduction: Count = 4  # bottleneck and fire: their inner width is channels / reduction
    inner: Widths | None = None  # the width between convolutions, of all blocks or of each, before the multiplier
    expand: Proportion | None = None  # fire: its 1x1 and KxK branches share the channels so; None: equally
    se: SqueezeExcitation | None = None  # at the end of each body
    eca: EfficientAttention | None = None  # behind se
    cbam: BlockAttention | None = None  # behind eca
    drop_path: Probability | None = None  # chance that an image skips a body in training; None: the model's
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

    @model_validator(mode="after")
    def _kernel_keeps_sizes(self) -> Self:
        if self.even is not None and (self.block != "basic" or self.kernel % 2):
            raise ValueError(f"even belongs to basic blocks of an even kernel; got {self.block}, kernel {self.kernel}")
        if self.even is None and self.kernel % 2 == 0 and not foreign.is_path(self.block):
            raise ValueError(f"{EVEN}; got {self.kernel}; basic blocks may set even = 'padding' or 'pool'")
        return self

    @model_validator(mode="after")
    def _uses_what_is_given(self) -> Self:
        own = foreign.is_path(self.block)
        if self.expand is not None and self.block != "fire" and not own:
            raise ValueError(f"expand belongs to fire; got {self.block}")
        if self.inner is not None and self.block not in WITH_INNER and not own:
            raise ValueError(f"inner belongs to {', '.join(WITH_INNER)}; got {self.block}")
        if isinstance(self.inner, tuple) and len(self.inner) != self.blocks:
            raise ValueError(f"inner must be one width, or one for each of {self.blocks} blocks; got {len(self.inner)}")
        if self.inner is not None and self.reduction != 4:
            raise ValueError("inner and reduction both say the inner width; give one")
        return self

    @model_validator(mode="after")
    def _convolutions_are_of_the_block(self) -> Self:
        if foreign.is_path(self.block):
            return self
        if self.conv is not None and self.block not in WITH_CONV[self.conv.kind]:
            raise ValueError(f"{self.conv.kind} belongs to {', '.join(WITH_CONV[self.conv.kind])}; got {self.block}")
        if self.conv is not None and (self.kernel % 2 == 0 or self.kernel == 1):
            raise ValueError(f"conv stands for convolutions of an odd kernel above 1; got {self.kernel}")
        if self.groups > 1 and (self.block not in ("bottleneck", "shuffle") or self.conv is not None):
            seen = self.block if self.conv is None else f"conv = {self.conv.kind}"
            raise ValueError(f"groups belongs to bottleneck and shuffle, without conv; got {seen}")
        if self.repeat > 1 and self.uses == self.blocks:
            raise ValueError("repeat is of blocks behind the first, or behind an entry; give blocks = 2, or an entry")
        return self

    @model_validator(mode="after")
    def _attention_is_of_the_block(self) -> Self:
        if foreign.is_path(self.block):
            return self
        if self.block != "transformer" and (self.heads != 4 or self.positions):
            raise ValueError(f"heads and positions belong to transformer; got {self.block}")
        if self.block == "transformer" and (self.shortcut or self.blur or self.kernel != 3 or self.blocks == 0):
            raise ValueError(
                "transformer has neither shortcut, blur nor kernel, and at least one block; leave them out"
            )
        return self

    @property
    def multiple(self) -> int:
        """What its widths are multiples of."""
        return self.heads if self.block == "transformer" else self.groups

    @property
    def opens(self) -> bool:
        """Whether the first block takes what another stage leaves: it changes shapes, and runs once."""
        return self.entry is None

    def times(self, block: int) -> int:
        """How often a block of the stage, numbered from 0, runs."""
        return 1 if block == 0 and self.opens else self.repeat

    @property
    def uses(self) -> int:
        """Residual blocks that run, those that share weights included."""
        return sum(map(self.times, range(self.blocks)))

    @property
    def shrinks_by_pool(self) -> bool:
        return self.entry is not None and self.entry.pool is not None

    def inner_of(self, block: int) -> int | None:
        """What is given for a block of the stage, numbered from 0."""
        return self.inner[block] if isinstance(self.inner, tuple) else self.inner

    def size_after(self, size: int, stride: int) -> int:
        size = (size - 1) // stride + 1 if self.entry is None else self.entry.size_after(size, stride)
        return size if self.pool is None else self.pool.size_after(size)


@dataclass(frozen=True)
class Place:
    """Where a residual block stands: its stage, widths, stride and the sides of the maps it reads and gives."""

    stage: int
    channels_in: int
    channels_out: int
    stride: int
    size_in: int
    size_out: int
    block: int = 0  # its number in the stage, from 0
    use: int = 0  # of its weights, from 0: later ones share those of the first


def _skips(value: Any) -> Any:
    if value == "dense" or isinstance(value, (list, tuple)):
        return _as_tuple(value)
    raise ValueError(f"must be 'dense' or a list of {{ from, to }}; got {value!r}{nearest(str(value), ['dense'])}")


class ModelSpec(Frozen):
    """A whole network, from (N, in_channels, image_size, image_size) to (N, classes)."""

    in_channels: Annotated[int, Field(ge=1, le=64)] = 3
    image_size: Annotated[int, Field(ge=4, le=1024)] = 32
    classes: Annotated[int, Field(ge=2, le=100_000)] = 10
    width: Annotated[float, Field(gt=0, le=64)] = 1.0  # multiplies the channels of stem and stages
    stem: Stem | Literal["none"] = Stem()  # "none": the first stage reads the image
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=32)]
    shortcut: Shortcut = Shortcut()
    skips: Annotated[tuple[Skip, ...] | Literal["dense"], BeforeValidator(_skips)] = ()  # "dense": every pair
    head: Head = Head()
    norm: Norm = Norm()
    conv_bias: bool = False  # every convolution has a bias
    activation: ActivationName = "relu"
    drop_path: Probability = 0.0  # of the last block, rising linearly from 0 at the first
    zero_last_norm: bool = False  # the norm that ends a body starts at zero, and the block as its shortcut
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
        if self.stem == "none" or not self.stem.whiten:
            return self
        most = 2 * self.stem.kernel**2 * self.in_channels
        if self.stem_channels > most or self.stem_channels % 2:
            raise ValueError(
                f"stem.channels with stem.whiten must be even and at most 2 * kernel^2 * in_channels = {most}; "
                f"got {self.stem_channels}"
            )
        return self

    @model_validator(mode="after")
    def _even_kernels_meet_their_shortcuts(self) -> Self:
        for place in self.places():
            if self.stages[place.stage].even and place.size_in % place.stride:
                raise ValueError(
                    f"stages.{place.stage}: a block with an even kernel and stride {place.stride} needs a map whose "
                    f"side is a multiple of it; got {place.size_in}x{place.size_in}"
                )
        return self

    @model_validator(mode="after")
    def _skips_meet_their_blocks(self) -> Self:
        places = self.places()
        if self.skips == "dense" and len(places) > _MOST_DENSE:
            raise ValueError(f"skips = 'dense' is for at most {_MOST_DENSE} blocks; got {len(places)}")
        pairs = self.skip_pairs()
        for start, end in pairs:
            if not start < end <= len(places):
                raise ValueError(f"a skip must lead forward among blocks 1 to {len(places)}; got {start} to {end}")
            self.skip_stride(start, end, places)
        if len(set(pairs)) < len(pairs):
            raise ValueError(f"skips must be given once each; got {pairs}")
        return self

    @model_validator(mode="after")
    def _bodies_may_be_silent(self) -> Self:
        for index, stage in enumerate(self.stages):
            rate = self.drop_path if stage.drop_path is None else stage.drop_path
            is_own = stage.block == "transformer"  # it adds by itself
            if (rate or self.zero_last_norm) and not is_own and (stage.shortcut or self.shortcut).kind == "none":
                raise ValueError(f"stages.{index}: drop_path and zero_last_norm need a shortcut; got kind = 'none'")
            if self.zero_last_norm and stage.block in (*PREACT, "transformer"):
                raise ValueError(
                    f"stages.{index}: zero_last_norm needs bodies that end in a norm; {stage.block} does not"
                )
            if self.zero_last_norm and stage.conv and stage.conv.is_whole and stage.block != "bottleneck":
                raise ValueError(
                    f"stages.{index}: zero_last_norm needs bodies that end in a norm; {stage.conv.kind} does not"
                )
        return self

    @model_validator(mode="after")
    def _transformers_keep_shapes(self) -> Self:
        for place in self.places():
            shapes = (place.channels_in, place.stride), (place.channels_out, 1)
            if self.stages[place.stage].block == "transformer" and shapes[0] != shapes[1]:
                raise ValueError(
                    f"stages.{place.stage}: transformer keeps width and size, but reads {place.channels_in} channels "
                    f"with stride {place.stride} to give {place.channels_out}; give the stage an entry, or what comes "
                    "before it the same channels"
                )
        return self

    @model_validator(mode="after")
    def _blurs_have_a_stride(self) -> Self:
        for index, stage in enumerate(self.stages):
            if stage.blur and self.stride(index) == 1:
                raise ValueError(
                    f"stages.{index}: blur takes the stride of a stage, and this one has none; leave it out"
                )
        return self

    def scaled(self, channels: int, multiple: int = 1) -> int:
        """Channels times the width multiplier, to the nearest multiple and at least one of it."""
        return max(1, round(channels * self.width / multiple)) * multiple

    def channels(self, index: int) -> int:
        """The width of a stage."""
        return self.scaled(self.stages[index].channels, self.stages[index].multiple)

    @property
    def shipped(self) -> Self:
        """The net that its file holds: branches of convolutions are one."""
        stages = tuple(
            stage.model_copy(update={"conv": Conv(kind="merged")})
            if stage.conv and stage.conv.kind == "repvgg"
            else stage
            for stage in self.stages
        )
        return self if stages == self.stages else self.model_copy(update={"stages": stages})

    def trained_as(self, other: Self) -> Self:
        """With convolutions made as those of another net of as many stages."""
        pairs = zip(self.stages, other.stages, strict=True)
        stages = tuple(stage.model_copy(update={"conv": theirs.conv}) for stage, theirs in pairs)
        return self if stages == self.stages else self.model_copy(update={"stages": stages})

    @property
    def whitens(self) -> bool:
        return self.stem != "none" and self.stem.whiten

    @property
    def stem_channels(self) -> int:
        if self.stem == "none":
            return self.in_channels
        if self.stem.whiten and self.stem.channels:  # as many as there are patches to tell apart, at any width
            return self.stem.channels
        return self.scaled(self.stem.channels) if self.stem.channels else self.channels(0)

    def stride(self, index: int) -> int:
        """The stride of a stage's first convolution."""
        stage = self.stages[index]
        keeps = index == 0 or stage.shrinks_by_pool or (stage.block == "transformer" and stage.opens)
        return stage.stride or (1 if keeps else 2)

    def map_sizes(self) -> list[int]:
        """Sides of the square feature maps after the stem, after each stage and after the head's pooling."""
        sizes = [self.image_size if self.stem == "none" else self.stem.size_after(self.image_size)]
        for index, stage in enumerate(self.stages):
            sizes.append(stage.size_after(sizes[-1], self.stride(index)))
        return [*sizes, self.head.size_after(sizes[-1])]

    def sizes_in(self, index: int) -> int:
        """The side of the map that the first block of a stage reads."""
        stage, size = self.stages[index], self.map_sizes()[index]
        return size if stage.entry is None else stage.entry.size_after(size, self.stride(index))

    def places(self) -> list[Place]:
        """The residual blocks in order."""
        found, channels, sizes = [], self.stem_channels, self.map_sizes()
        for index, stage in enumerate(self.stages):
            size, stride, out = sizes[index], self.stride(index), self.channels(index)
            if stage.entry is not None:
                channels, size, stride = out, stage.entry.size_after(size, stride), 1
            uses = [(block, use) for block in range(stage.blocks) for use in range(stage.times(block))]
            for block, use in uses:
                after = (size - 1) // stride + 1
                found.append(Place(index, channels, out, stride, size, after, block, use))
                channels, size, stride = out, after, 1
        return found

    def inner(self, place: Place) -> int:
        """The width inside a block: as given, else that of its output, or of bottleneck and fire a part of it."""
        stage = self.stages[place.stage]
        given = stage.inner_of(place.block)
        if given is not None:
            return self.scaled(given, stage.groups)
        out, groups = place.channels_out, stage.groups
        if stage.block == "transformer":
            return 2 * out
        return out if stage.block in ("basic", *PREACT) else max(1, out // stage.reduction // groups) * groups

    def has_projection(self, place: Place) -> bool:
        """Whether the shortcut of a block, where there is one, is a convolution."""
        if self.stages[place.stage].block == "transformer":
            return False
        kind = (self.stages[place.stage].shortcut or self.shortcut).kind
        agree = place.stride == 1 and place.channels_in == place.channels_out
        return kind == "always" or (kind == "first" and place.block == 0) or (kind == "projection" and not agree)

    def skip_pairs(self) -> list[tuple[int, int]]:
        """(from, to) of every skip, blocks numbered from 1."""
        if self.skips == "dense":
            count = sum(stage.uses for stage in self.stages)
            return [(start, end) for end in range(2, count + 1) for start in range(1, end)]
        return [(skip.start, skip.to) for skip in self.skips]

    def skip_stride(self, start: int, end: int, places: list[Place]) -> int:
        """How many times smaller the map of block `end` is than what enters block `start`. Raises ValueError."""
        before, after = places[start - 1].size_in, places[end - 1].size_out
        stride = -(-before // after)
        if (before - 1) // stride + 1 != after:
            raise ValueError(
                f"the skip from {start} to {end} must lead to a map of {after}x{after}, and no stride makes it of "
                f"{before}x{before}"
            )
        return stride
