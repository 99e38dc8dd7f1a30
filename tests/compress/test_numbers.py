"""Laws of numbers on few bits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snugnet.compress.numbers import (
    FACTORS,
    MULTIPLIER_BITS,
    Multiplier,
    Range,
    best_range,
    quantize_weight,
    recoded,
    scaled,
)

WEIGHTS = torch.randn((6, 5, 3, 3), generator=torch.Generator().manual_seed(0)) * torch.tensor(
    [0.0, 1e-6, 0.1, 1.0, 30.0, 1e4]
).view(-1, 1, 1, 1)


@pytest.mark.parametrize(("bits", "most"), [(8, 127), (4, 7)])
@pytest.mark.parametrize("group", [None, 4, 7, 1000])
def test_what_is_not_cut_is_off_by_at_most_half_a_step(bits: int, most: int, group: int | None):
    codes = quantize_weight(WEIGHTS, bits, group)
    assert codes.codes.dtype == torch.int8
    assert int(codes.codes.abs().max()) <= most
    error, whole = (codes.values() - WEIGHTS).abs(), codes.codes.abs() < most
    assert (error <= codes.steps() / 2 * 1.0001)[whole].all()
    assert torch.equal(codes.values()[0], torch.zeros(5, 3, 3))


@pytest.mark.parametrize("group", [None, 4, 7])
def test_factors_leave_an_int8(group: int | None):
    codes = quantize_weight(WEIGHTS, 4, group)
    integers = codes.integers()
    assert integers.dtype == torch.int8
    assert int(integers.short().abs().max()) <= 7 * FACTORS
    torch.testing.assert_close(integers * codes.scales.view(-1, 1, 1, 1), codes.values())
    if group:
        assert codes.factors is not None
        assert codes.factors.shape == (6, math.ceil(45 / group))
        assert 1 <= int(codes.factors.min()) <= int(codes.factors.max()) <= FACTORS


def test_groups_and_bits_lose_less():
    def loss(bits: int, group: int | None) -> float:
        return float((quantize_weight(WEIGHTS[3:4], bits, group).values() - WEIGHTS[3:4]).square().mean())

    assert loss(8, None) < loss(4, 4) < loss(4, None)


def test_a_cut_is_chosen_where_it_pays():
    row = torch.cat([torch.linspace(-1, 1, 200), torch.tensor([4.0])]).view(1, -1)
    codes = quantize_weight(row, 4)
    assert float(codes.scales[0]) < 4 / 7
    assert float((codes.values() - row).square().mean()) < float(
        ((row / (4 / 7)).round() * 4 / 7 - row).square().mean()
    )


def test_weights_in_their_own_steps_stay():
    codes = quantize_weight(WEIGHTS, 4, 7)
    again = recoded(codes, codes.values())
    assert torch.equal(again.codes, codes.codes)
    moved = recoded(codes, codes.values() + codes.steps())
    assert torch.equal(moved.codes, (codes.codes + 1).clamp(max=7))


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_range_holds_zero_and_its_ends(one: float, other: float):
    low, high = min(one, other), max(one, other)
    found = Range.around(low, high)
    assert -128 <= found.zero <= 127
    assert found.low <= 0 <= found.high
    if high > low:
        assert found.scale * found.low <= min(low, 0) + found.scale
        assert found.scale * found.high >= max(high, 0) - found.scale


def test_a_map_of_nothing_but_zeros():
    assert Range.around(0.0, 0.0).scale == 1.0
    assert best_range(torch.zeros(5)).scale == 1.0


def test_the_best_range_ignores_a_stray_value():
    sample = torch.cat([torch.linspace(0, 1, 100_000), torch.tensor([2.5])])
    assert best_range(sample).scale < 2.5 / 255
    assert best_range(torch.linspace(0, 1, 1000)).scale == pytest.approx(1 / 255, rel=0.03)


@given(st.integers(-(2**31), 2**31), st.integers(0, 2**MULTIPLIER_BITS), st.integers(1, 51))
def test_scaling_is_exact(value: int, factor: int, shift: int):
    found = scaled(torch.tensor([float(value)]).double(), *(torch.tensor([float(each)]) for each in (factor, shift)))
    wanted = (int(torch.tensor([float(value)])) * factor + (1 << (shift - 1))) >> shift
    assert int(found) == wanted


@given(st.floats(1e-9, 1e3))
def test_a_multiplier_is_near(value: float):
    found = Multiplier.near(value)
    assert 1 <= found.shift <= 51
    assert found.factor <= 2**MULTIPLIER_BITS
    assert found.factor / 2**found.shift == pytest.approx(value, rel=2**-18)
