from __future__ import annotations

import math

import torch

from snugnet.data.augment import Erase

COUNT = 4000


def holes(count: int = COUNT, height: int = 32, width: int = 32, seed: int = 0, **options) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """bool (N, H, W): what was erased from white images."""
    erase = Erase(op="erase", **{"p": 1.0, **options})
    white = torch.full((count, 1, height, width), 255, dtype=torch.uint8)
    return (erase.apply(white, torch.Generator().manual_seed(seed)) == 0)[:, 0]


def sides(erased: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns touched."""
    return erased.any(2).sum(1), erased.any(1).sum(1)


def test_a_hole_is_a_full_rectangle_inside() -> None:
    erased = holes()
    rows, columns = sides(erased)
    assert torch.equal(erased.flatten(1).sum(1), rows * columns)
    assert rows.max() < 32
    assert columns.max() < 32


def test_area_and_shape_are_drawn_as_said() -> None:
    rows, columns = (side.double() for side in sides(holes(scale=(0.1, 0.3), ratio=(0.5, 2.0))))
    area, ratio = rows * columns / 1024, rows / columns
    assert area.min() > 0.08
    assert area.max() < 0.33
    assert abs(area.mean() - 0.2) < 0.005
    assert abs(ratio.log().mean()) < 0.03
    assert ratio.min() > 0.4
    assert ratio.max() < 2.5
    assert abs(ratio.log().std() - 2 * math.log(2) / math.sqrt(12)) < 0.03


def test_place_is_even() -> None:
    erased = holes(scale=(0.04, 0.04), ratio=(1.0, 1.0))  # 6 by 6, at one of 27 places each way
    first = erased.any(2).int().argmax(1)
    counts = torch.bincount(first, minlength=27)
    assert len(counts) == 27
    assert ((counts - COUNT / 27) ** 2 / (COUNT / 27)).sum() < 54.1  # 26 degrees of freedom, p = 0.001


def test_probability() -> None:
    hit = holes(p=0.5).flatten(1).any(1).float().mean()
    assert abs(hit - 0.5) < 4 * 0.5 / math.sqrt(COUNT)


def test_what_never_fits_erases_nothing() -> None:
    assert not holes(scale=(1.0, 1.0), ratio=(1.0, 1.0)).any()


def test_an_attempt_that_does_not_fit_is_drawn_again() -> None:
    """Up to ten times; beside the chance that one attempt fits."""
    random = torch.Generator().manual_seed(1)
    area = 256 * (0.3 + 0.6 * torch.rand(200_000, generator=random))
    ratio = (math.log(0.3) + math.log(11) * torch.rand(200_000, generator=random)).exp()
    fits = (((area * ratio).sqrt().round() < 32) & ((area / ratio).sqrt().round() < 8)).float().mean().item()
    assert 0.05 < fits < 0.5
    erased = holes(height=32, width=8, scale=(0.3, 0.9), ratio=(0.3, 3.3)).flatten(1).any(1)
    assert abs(erased.float().mean() - (1 - (1 - fits) ** 10)) < 0.03


def test_value_and_noise() -> None:
    gray = torch.zeros(50, 3, 16, 16, dtype=torch.uint8)
    random = torch.Generator().manual_seed(0)
    assert set(Erase(op="erase", p=1.0, value=9).apply(gray, random).unique().tolist()) == {0, 9}
    noise = Erase(op="erase", p=1.0, noise=True).apply(gray, random)
    assert noise.dtype == torch.uint8
    assert len(noise.unique()) > 200
    floats = Erase(op="erase", p=1.0, noise=True, scale=(0.5, 0.5), ratio=(1.0, 1.0)).apply(gray.float(), random)
    inside = floats[floats != 0]
    assert abs(inside.mean()) < 0.03
    assert abs(inside.std() - 1) < 0.03
