"""Numbers on few bits: weights as integers with scales, ranges of activations, and scaling in integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LOW, HIGH = -128, 127  # of int8
FACTORS = 18  # the largest factor of a group: 7 x 18 = 126 is still an int8
MULTIPLIER_BITS = 20
RATIOS = tuple(0.3 + 0.02 * step for step in range(36))  # of the full range, to cut weights and activations at


@dataclass(frozen=True)
class Codes:
    """Weights as integers: codes x factor x scale. On 4 bits codes are within 7, on 8 bits within 127.

    `codes` int8, shaped as the weights were; `scales` float32 (O,), one for each output channel; `factors` uint8
    (O, groups), one for each `group` weights of an output channel in their order, or None.
    """

    bits: int
    codes: Tensor
    scales: Tensor
    factors: Tensor | None = None
    group: int | None = None

    @property
    def most(self) -> int:
        """The largest code."""
        return (1 << (self.bits - 1)) - 1

    @property
    def signs(self) -> Tensor:
        """Of the scales, int8: weights that several layers share have negative ones too."""
        return torch.where(self.scales < 0, -1, 1).to(torch.int8)

    def integers(self) -> Tensor:
        """Codes times their factors, int8: what is computed with."""
        if self.factors is None or self.group is None:
            return self.codes
        each = self.factors.repeat_interleave(self.group, dim=1)[:, : self.codes[0].numel()]
        return (self.codes.flatten(1) * each.to(torch.int8)).view_as(self.codes)

    def steps(self) -> Tensor:
        """What one step of each weight is worth, float32, of a shape that broadcasts to the weights'."""
        scales = self.scales.view(-1, *[1] * (self.codes.dim() - 1))
        if self.factors is None or self.group is None:
            return scales
        each = self.factors.repeat_interleave(self.group, dim=1)[:, : self.codes[0].numel()]
        return each.view_as(self.codes) * scales

    def values(self) -> Tensor:
        return self.codes * self.steps()

    def cpu(self) -> Codes:
        factors = None if self.factors is None else self.factors.cpu()
        return replace(self, codes=self.codes.cpu(), scales=self.scales.cpu(), factors=factors)


def quantize_weight(weight: Tensor, bits: int, group: int | None = None) -> Codes:
    """Symmetric integers, cut where the mean square of the error is least, for each output channel or group of it."""
    rows, most = weight.detach().flatten(1), 2 ** (bits - 1) - 1
    if group is None or group >= rows.shape[1]:
        scales = _best_steps(rows, most)
        return Codes(bits, _rounded(weight, scales.view(-1, *[1] * (weight.dim() - 1)), most), scales)
    count = math.ceil(rows.shape[1] / group)
    parts = torch.nn.functional.pad(rows, (0, count * group - rows.shape[1])).view(-1, group)
    steps = _best_steps(parts, most).view(-1, count)
    scales = steps.amax(1) / FACTORS
    factors = (steps / scales[:, None]).round().clamp(1, FACTORS).to(torch.uint8)
    made = Codes(bits, torch.empty(weight.shape, dtype=torch.int8), scales, factors, group)
    return Codes(bits, _rounded(weight, made.steps(), most), scales, factors, group)


def recoded(codes: Codes, weight: Tensor) -> Codes:
    """Other weights, as a training left them, in the same steps."""
    return replace(codes, codes=_rounded(weight, codes.steps(), codes.most))


def _rounded(weight: Tensor, steps: Tensor, most: int) -> Tensor:
    return (weight.detach() / steps).round().clamp(-most, most).to(torch.int8)


def _best_steps(rows: Tensor, most: int) -> Tensor:
    """The step of each row (R, n) that loses least in the mean square; 1 for a row of zeros."""
    largest = rows.abs().amax(1)
    largest = torch.where(largest > 0, largest, torch.full_like(largest, most))
    best, least = largest / most, torch.full_like(largest, math.inf)
    for ratio in RATIOS:
        steps = (ratio * largest / most)[:, None]
        error = (rows - (rows / steps).round().clamp(-most, most) * steps).square().sum(1)
        best, least = torch.where(error < least, steps[:, 0], best), torch.minimum(error, least)
    return best


@dataclass(frozen=True)
class Range:
    """Int8 for a map: a number q stands for scale x (q - zero)."""

    scale: float
    zero: int

    @classmethod
    def around(cls, low: float, high: float) -> Range:
        """The finest that holds both; 0 is always exact. Scales are float32, as files keep them."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = _float32((high - low) / (HIGH - LOW)) or 1.0  # of nothing but zeros, or nearly
        return cls(scale, max(LOW, min(HIGH, round(LOW - low / scale))))

    @property
    def low(self) -> int:
        """Of q - zero, which is what is computed with."""
        return LOW - self.zero

    @property
    def high(self) -> int:
        return HIGH - self.zero


def _float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))


def best_range(sample: Tensor) -> Range:
    """The range that loses least of a sample in the mean square."""
    low, high = float(sample.min()), float(sample.max())
    found = [Range.around(ratio * low, ratio * high) for ratio in RATIOS]
    return min(found, key=lambda each: _loss(sample, each))


def _loss(sample: Tensor, each: Range) -> float:
    rounded = (sample / each.scale).round().clamp(each.low, each.high) * each.scale
    return float((rounded - sample).square().mean())


@dataclass(frozen=True)
class Multiplier:
    """A real number as factor / 2^shift: integers scaled by it are rounded, halves up."""

    factor: int
    shift: int

    @classmethod
    def near(cls, value: float, shift: int | None = None) -> Multiplier:
        """The nearest with MULTIPLIER_BITS bits, or with a given shift."""
        if shift is None:
            shift = shift_for(value)
        return cls(round(value * 2.0**shift), shift)


def shift_for(largest: float) -> int:
    """The shift that leaves MULTIPLIER_BITS bits of the largest factor; at least 1, at most 51."""
    return max(1, min(51, MULTIPLIER_BITS - math.frexp(largest)[1]))


def scaled(values: Tensor, factors: Tensor, shifts: Tensor) -> Tensor:
    """floor(values x factors / 2^shifts + 1/2) of integers in float64, exact: (v * f + (1 << (s - 1))) >> s.

    Exact while |values| < 2^31 and factors < 2^21.
    """
    return torch.floor(values.double() * factors * torch.exp2(-shifts) + 0.5)


def as_tensors(multipliers: Sequence[Multiplier], dims: int) -> tuple[Tensor, Tensor]:
    """Factors and shifts, float64, for the channels of (N, C, H, W) or (N, C)."""
    shape = (1, -1, *[1] * (dims - 2))
    factors = torch.tensor([each.factor for each in multipliers], dtype=torch.float64).view(shape)
    return factors, torch.tensor([each.shift for each in multipliers], dtype=torch.float64).view(shape)
