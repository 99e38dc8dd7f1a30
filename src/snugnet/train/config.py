"""What a recipe's [train] table says."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from snugnet import foreign
from snugnet.config import Frozen
from snugnet.data.augment import Augmentation
from snugnet.problems import nearest
from snugnet.train.ema import EmaConfig
from snugnet.train.history import Metric, StopConfig
from snugnet.train.mix import MixConfig
from snugnet.train.optim import OptimizerConfig
from snugnet.train.progressive import Progressive
from snugnet.train.schedule import ScheduleConfig

CROSS_ENTROPY = "cross_entropy"
BALANCED = "balanced"


def _known_loss(loss: str) -> str:
    if loss != CROSS_ENTROPY and not foreign.is_well_formed(loss):
        hint = nearest(loss, [CROSS_ENTROPY])
        raise ValueError(f"must be {CROSS_ENTROPY} or {foreign.FORM}; got {loss!r}{hint}")
    return loss


def _weights(value: Any) -> Any:
    if value == BALANCED or isinstance(value, (list, tuple)):
        return tuple(value) if isinstance(value, list) else value
    hint = nearest(str(value), [BALANCED])
    raise ValueError(f"must be {BALANCED!r} or a list with a number for each class; got {value!r}{hint}")


ClassWeights = Annotated[
    Literal["balanced"] | Annotated[tuple[Annotated[float, Field(gt=0, le=1e6)], ...], Field(min_length=2)],
    BeforeValidator(_weights),
]


class TrainConfig(Frozen):
    """How a net is trained. Epochs and batches as in the papers: an epoch is one pass over the training images."""

    epochs: Annotated[int, Field(ge=0, le=100_000)]  # 0: the weights of init_from ship as they are
    init_from: Annotated[str, Field(min_length=1)] | None = None  # whose weights it begins with, see lineage.py
    transfer: bool = False  # the classifier of other classes, and the first filters of other channels, are made anew
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 128
    accumulate: Annotated[int, Field(ge=1, le=1_000_000)] = 1  # equal parts that a batch's gradients are taken in
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    augment: Augmentation = ()
    mix: MixConfig | None = None
    loss: Annotated[str, AfterValidator(_known_loss)] = CROSS_ENTROPY
    loss_options: foreign.Options = Field(default={})
    progressive: Progressive = ()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: ClassWeights | None = None  # of cross-entropy, in the order of the classes
    clip_norm: Annotated[float, Field(gt=0)] | None = None  # total norm that gradients are scaled down to
    clip_value: Annotated[float, Field(gt=0)] | None = None  # size that each gradient is cut to, before its norm is
    ema: EmaConfig | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: as `device.choose` finds fastest
    compile: bool = False  # a step's forward pass and loss by torch.compile, see compiling.py
    log_every: Annotated[int, Field(ge=1)] = 50  # steps that a loss in the metrics is the mean of
    keep: Literal["last", "best"] = "last"  # what ships: the last epoch, or the best on val
    keep_metric: Metric = "accuracy"  # what best means
    stop: StopConfig | None = None

    @model_validator(mode="after")
    def _loss_reads_what_is_given(self) -> Self:
        if self.loss == CROSS_ENTROPY and self.loss_options:
            raise ValueError("loss_options belong to a loss of your own; cross_entropy reads label_smoothing")
        if self.loss != CROSS_ENTROPY and self.label_smoothing:
            raise ValueError(
                f"label_smoothing belongs to cross_entropy, and {self.loss} does not read it; give 0, or loss_options"
            )
        if self.loss != CROSS_ENTROPY and self.class_weights is not None:
            raise ValueError(
                f"class_weights belong to cross_entropy, and {self.loss} does not read them; leave them out, or give "
                "loss_options"
            )
        return self

    @model_validator(mode="after")
    def _transfers_from_something(self) -> Self:
        if self.transfer and self.init_from is None:
            raise ValueError("transfer says how the weights of init_from are taken; give init_from as well")
        return self

    @model_validator(mode="after")
    def _has_weights_to_ship(self) -> Self:
        if not self.epochs and self.init_from is None:
            raise ValueError(
                "epochs must be at least 1, or 0 with init_from, whose weights then ship; got 0 without it"
            )
        return self

    @property
    def keeps_best(self) -> bool:
        """Whether an epoch is chosen on val, where there is one."""
        return self.keep == "best" and self.epochs > 0

    @property
    def watches_val(self) -> str | None:
        """The key that cannot be followed without a val split."""
        if self.stop is not None:
            return "train.stop"
        return "train.schedule.name = 'plateau'" if self.schedule.name == "plateau" else None
