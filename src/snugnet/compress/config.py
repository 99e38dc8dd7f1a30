"""What a recipe's [quantize] table says, and what a shipped file keeps of it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from snugnet.config import Frozen

WeightFormat = Literal["float16", "int8", "int4"]


class Quantization(Frozen):
    """How the numbers of a shipped file are kept: what its reader has to know.

    float16 keeps a net's tensors as they are, at half the size. int8 and int4 fold the norms first; weights are then
    integers with a scale for each output channel, of int4 with `group` a further factor of 1 to 18 for each `group`
    weights. Activations are int8 with a scale and a zero for each map, or float.
    """

    weights: WeightFormat = "int8"
    activations: Literal["int8", "float"] | None = None  # None: int8, of float16 float
    group: Annotated[int, Field(ge=4, le=65_536)] | None = (
        None  # int4: weights of an output channel that share a factor
    )
    first: Literal["int8", "int4"] = "int8"  # int4: the weights of the first layer
    last: Literal["int8", "int4"] = "int8"  # and of the classifier

    @model_validator(mode="after")
    def _says_what_is_read(self) -> Self:
        given = [name for name in ("group", "first", "last") if getattr(self, name) not in (None, "int8")]
        if self.weights != "int4" and given:
            raise ValueError(f"{' and '.join(given)} belong to weights = 'int4'; got {self.weights!r}")
        if self.weights == "float16" and self.activations == "int8":
            raise ValueError("weights = 'float16' leaves activations float; leave activations out")
        return self

    @property
    def is_integer(self) -> bool:
        """Whether the net computes in integers."""
        return self.weights != "float16" and self.activations != "float"

    def bits(self, number: int, count: int) -> int:
        """Of the weights of layer `number` of `count`, from 0."""
        if self.weights == "int8":
            return 8
        own = self.first if number == 0 else self.last if number == count - 1 else "int4"
        return 8 if own == "int8" else 4


class QuantizeConfig(Quantization):
    """How a training's net is quantised as it ships; with `train`, it learns in rounded numbers before.

    Activations are calibrated on the first `images` of the training images: "minmax" covers all values seen,
    "percentile" all but the rarest, "mse" loses least in the mean square. Weights are cut where they lose least.
    """

    calibrate: Literal["mse", "percentile", "minmax"] = "mse"
    percentile: Annotated[float, Field(gt=50, le=100)] | None = None  # None: 99.99
    images: Annotated[int, Field(ge=1, le=100_000)] = 1000
    train: bool = False  # in rounded numbers from the first step on (quantisation-aware); needs train.init_from

    @model_validator(mode="after")
    def _reads_percentile(self) -> Self:
        if self.percentile is not None and self.calibrate != "percentile":
            raise ValueError(f"percentile belongs to calibrate = 'percentile'; got {self.calibrate!r}")
        if self.train and self.weights == "float16":
            raise ValueError("train is for integers; float16 needs none")
        return self

    @property
    def shipped(self) -> Quantization:
        """What the file keeps."""
        return Quantization.parse(self.plain(include=set(Quantization.model_fields)))
