import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from snugnet.data.augment import Crop, Cutout, Flip, reflect_pad


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(count=400, channels=3, side=12, seed=0):
    return torch.randint(1, 256, (count, channels, side, side), generator=seeded(seed), dtype=torch.uint8)


OPERATIONS = [
    Flip(op="flip"),
    Flip(op="flip", axis="vertical"),
    Crop(op="crop", padding=2),
    Crop(op="crop", padding=3, fill="reflect"),
    Cutout(op="cutout", size=5),
    Cutout(op="cutout", size=4, holes=3),
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bytes_in_bytes_out_by_the_seed_alone(operation):
    images = noise()
    before = images.clone()
    first, again = (operation.apply(images, seeded(3)) for _ in range(2))
    assert (first.dtype, first.shape) == (torch.uint8, images.shape)
    assert torch.equal(first, again)
    assert torch.equal(images, before)
    assert not torch.equal(first, operation.apply(images, seeded(4)))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_image_has_its_own_draw(operation):
    same = noise(1).expand(400, -1, -1, -1)
    kinds = len({image.numpy().tobytes() for image in operation.apply(same, seeded())})
    assert kinds >= (2 if isinstance(operation, Flip) else 20)


@pytest.mark.parametrize(("axis", "dim"), [("horizontal", 2), ("vertical", 1)])
@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_flips_are_mirrors_as_often_as_said(axis, dim, p):
    images = noise(2000, 1, 6)
    flipped = Flip(op="flip", p=p, axis=axis).apply(images, seeded())
    mirrored = (flipped == images.flip(dim + 1)).flatten(1).all(1)
    assert (mirrored | (flipped == images).flatten(1).all(1)).all()
    assert abs(mirrored.sum().item() - 2000 * p) <= 4.5 * (2000 * p * (1 - p)) ** 0.5


@pytest.mark.parametrize(("fill", "mode"), [("zero", "constant"), ("reflect", "reflect")])
@pytest.mark.parametrize("padding", [1, 2, 4])
def test_crops_are_all_the_windows_of_the_padded_image_and_no_others(fill, mode, padding):
    images = noise(2500, 2, 8)
    padded = F.pad(images.float(), (padding,) * 4, mode=mode).to(torch.uint8)
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)  # (N, C, top, left, 8, 8)
    cropped = Crop(op="crop", padding=padding, fill=fill).apply(images, seeded())
    found = (windows == cropped[:, :, None, None]).flatten(4).all(4).all(1)  # (N, top, left)
    assert (found.sum((1, 2)) == 1).all()
    times = found.sum(0)
    places = (2 * padding + 1) ** 2
    assert times.shape == (2 * padding + 1, 2 * padding + 1)
    assert ((times - 2500 / places).abs() <= 5 * (2500 / places) ** 0.5).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 25))
def test_reflection_is_numpy_s_at_any_padding(height, width, padding):
    images = torch.arange(2 * height * width, dtype=torch.uint8).view(1, 2, height, width)
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)), mode="reflect")
    assert torch.equal(reflect_pad(images, padding), torch.from_numpy(expected))


@pytest.mark.parametrize(("size", "side"), [(1, 6), (4, 9), (5, 9), (16, 32), (20, 6)])
def test_cutout_zeroes_one_clipped_square(size, side):
    images = noise(1500, 2, side)  # no zero in them
    cut = Cutout(op="cutout", size=size).apply(images, seeded())
    hole = cut == 0
    assert torch.equal(cut, images.masked_fill(hole, 0))
    assert torch.equal(hole[:, 0], hole[:, 1])
    rows, columns = hole[:, 0].any(2), hole[:, 0].any(1)
    assert torch.equal(hole[:, 0], rows[:, :, None] & columns[:, None, :])  # a rectangle of these rows and columns
    allowed = {}  # the mask of a band for each of its centres
    for centre in range(side):
        first = centre - size // 2
        allowed[tuple(first <= place < first + size for place in range(side))] = centre
    for bands in (rows, columns):
        assert {tuple(band) for band in bands.tolist()} == set(allowed)  # each centre is met, and nothing else
    if size < side:
        full = (hole[:, 0].sum((1, 2)) == size**2).float().mean().item()
        assert full == pytest.approx(((side - size + 1) / side) ** 2, abs=0.06)


def test_several_holes():
    cut = Cutout(op="cutout", size=1, holes=3).apply(noise(800, 1, 16), seeded()) == 0
    counts = cut.flatten(1).sum(1)
    assert counts.max() == 3
    assert counts.float().mean() > 2.9
