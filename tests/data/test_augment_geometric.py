"""Moving pixels, beside Pillow: bitwise for nearest sampling, at most one level off for bilinear."""

from __future__ import annotations

import math

import pytest
import torch
from pictures import SHAPES, by_pillow, difference, photos
from PIL import Image

from snugnet.data.augment import Affine, Flip, Perspective, Rotate, resample
from snugnet.data.augment.draw import Draw

SAMPLING = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
TOLERANCE = {"nearest": 0, "bilinear": 1}  # levels
COUNT = 48


def uniform(low: float, high: float, seed: int = 1) -> torch.Tensor:
    return low + (high - low) * torch.rand(COUNT, generator=torch.Generator().manual_seed(seed)).double()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("shape", SHAPES)
class TestPillow:
    def test_rotation(self, shape: tuple[int, int, int], sampling: str) -> None:
        images, degrees = photos(COUNT, *shape), uniform(-180, 180)
        degrees[:8] = torch.tensor([0.0, 90, -90, 180, -180, 45, 5, 1e-3])
        ours = resample.resample(images, resample.rotation(degrees, images), sampling)
        square = shape[1] == shape[2]
        theirs = by_pillow(lambda image, angle: image.rotate(angle, SAMPLING[sampling]), images, degrees)
        skipped = 0 if square else 3  # Pillow turns the frame with a picture that is not square by exactly 90 degrees
        assert difference(ours[skipped:], theirs[skipped:]) <= TOLERANCE[sampling]

    @pytest.mark.parametrize(
        ("make", "place", "sign", "most"),
        [
            (resample.shear_x, 1, 1, 1.5),
            (resample.shear_y, 3, 1, 1.5),
            (resample.translate_x, 2, -1, 45.0),
            (resample.translate_y, 5, -1, 45.0),
        ],
    )
    def test_shear_and_shift(self, shape, sampling, make, place, sign, most) -> None:  # type: ignore[no-untyped-def]
        images, level = photos(COUNT, *shape), uniform(-most, most)

        def change(image: Image.Image, value: float) -> Image.Image:
            data = [1.0, 0, 0, 0, 1, 0]
            data[place] = sign * (math.trunc(value) if place in (2, 5) else value)
            return image.transform(image.size, Image.Transform.AFFINE, data, SAMPLING[sampling])

        ours = resample.resample(images, make(level), sampling)
        assert difference(ours, by_pillow(change, images, level)) <= TOLERANCE[sampling]

    def test_any_affine_map(self, shape: tuple[int, int, int], sampling: str) -> None:
        images = photos(COUNT, *shape)
        maps = torch.tensor([1.0, 0, 0, 0, 1, 0]) + torch.stack([uniform(-0.5, 0.5, k) for k in range(6)], 1)
        maps[:, (2, 5)] *= 10

        def change(image: Image.Image, *data: float) -> Image.Image:
            return image.transform(image.size, Image.Transform.AFFINE, data, SAMPLING[sampling])

        ours = resample.resample(images, maps, sampling)
        assert difference(ours, by_pillow(change, images, *maps.unbind(1))) <= TOLERANCE[sampling]

    def test_perspective(self, shape: tuple[int, int, int], sampling: str) -> None:
        images = photos(COUNT, *shape)
        draw = Draw.of(generator(), images)
        corners = Perspective(op="perspective", distortion=0.8)._corners(shape[2], shape[1], draw)
        maps = resample.perspective(images, corners)

        def change(image: Image.Image, *data: float) -> Image.Image:
            return image.transform(image.size, Image.Transform.PERSPECTIVE, data, SAMPLING[sampling])

        ours = resample.resample(images, maps, sampling)
        assert difference(ours, by_pillow(change, images, *maps.unbind(1))) <= TOLERANCE[sampling]


def test_maps_are_torchvisions() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = photos(COUNT, 3, 20, 30)
    ranges = [(-90, 90), (-9, 9), (-9, 9), (0.5, 2), (-40, 40), (-40, 40)]
    values = [uniform(low, high, seed) for seed, (low, high) in enumerate(ranges)]
    degrees, x, y, scale, shear_x, shear_y = values
    ours = resample.affine(images, degrees=degrees, x=x, y=y, scale=scale, shear_x=shear_x, shear_y=shear_y)
    for row, (angle, left, top, size, sx, sy) in zip(ours, torch.stack(values, 1).tolist(), strict=True):
        theirs = functional._get_inverse_affine_matrix([15.0, 10.0], angle, [left, top], size, [sx, sy])
        torch.testing.assert_close(row, torch.tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    corners = Perspective(op="perspective", distortion=0.6)._corners(30, 20, Draw.of(generator(), images))
    start = [[0, 0], [29, 0], [29, 19], [0, 19]]
    for row, each in zip(resample.perspective(images, corners), corners.tolist(), strict=True):
        theirs = functional._get_perspective_coeffs(start, each)
        torch.testing.assert_close(row, torch.tensor(theirs, dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_float_images_move_as_uint8_ones_do() -> None:
    images = photos(COUNT)
    maps = resample.rotation(uniform(-45, 45), images)
    assert torch.equal(resample.resample(images.float(), maps), resample.resample(images, maps).float())
    smooth = resample.resample(images.float(), maps, "bilinear")
    assert torch.equal((smooth + 1e-3).to(torch.uint8), resample.resample(images, maps, "bilinear"))


def test_rotation_is_drawn_evenly_within_its_degrees(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[torch.Tensor] = []
    original = resample.rotation
    monkeypatch.setattr(resample, "rotation", lambda angle, images: (drawn.append(angle), original(angle, images))[1])
    Rotate(op="rotate", degrees=5).apply(photos(1).expand(4000, -1, -1, -1), generator())
    assert drawn[0].abs().max() <= 5
    counts = torch.histc(drawn[0], 10, -5, 5)
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001


def test_affine_without_strength_changes_nothing() -> None:
    images = photos(8)
    assert torch.equal(Affine(op="affine").apply(images, generator()), images)


def test_affine_shifts_by_whole_pixels_within_its_share() -> None:
    image = torch.zeros(1, 1, 20, 40, dtype=torch.uint8)
    image[0, 0, 10, 20] = 255
    moved = Affine(op="affine", translate=(0.1, 0.25)).apply(image.expand(3000, -1, -1, -1), generator())
    rows, columns = moved[:, 0].nonzero()[:, 1] - 10, moved[:, 0].nonzero()[:, 2] - 20
    assert set(columns.tolist()) == set(range(-4, 5))
    assert set(rows.tolist()) == set(range(-5, 6))


def test_corners_are_drawn_as_torchvision_draws() -> None:
    images = photos(1).expand(20_000, -1, -1, -1)
    corners = Perspective(op="perspective", distortion=0.6)._corners(32, 32, Draw.of(generator(), images))
    assert [set(corners[:, k, 0].tolist()) for k in range(4)] == [
        set(range(10)), set(range(22, 32)), set(range(22, 32)), set(range(10)),
    ]  # fmt: skip
    assert [set(corners[:, k, 1].tolist()) for k in range(4)] == [
        set(range(10)), set(range(10)), set(range(22, 32)), set(range(22, 32)),
    ]  # fmt: skip
    for values in (corners[:, 0, 0], corners[:, 2, 1] - 22):
        counts = torch.bincount(values, minlength=10)
        assert ((counts - 2000) ** 2 / 2000).sum() < 27.9


class TestAlternatingFlip:
    FLIP = Flip(op="flip", alternate=True)

    def flipped(self, epoch: int, indices: torch.Tensor, seed: int = 0) -> torch.Tensor:
        images = torch.tensor([0, 1], dtype=torch.uint8).expand(len(indices), 1, 1, 2)
        return self.FLIP.apply(images, Draw(generator(), indices, epoch, seed))[:, 0, 0, 0].bool()

    def test_every_second_epoch_is_the_mirror(self) -> None:
        indices = torch.arange(100)
        epochs = [self.flipped(epoch, indices) for epoch in range(4)]
        assert torch.equal(epochs[0], ~epochs[1])
        assert torch.equal(epochs[0], epochs[2])
        assert torch.equal(epochs[1], epochs[3])

    def test_first_epoch_is_a_fair_draw_of_each_image_and_seed(self) -> None:
        indices = torch.arange(40_000)
        first, second = (self.flipped(0, indices, seed) for seed in (0, 1))
        for share in (first.float().mean(), (first == second).float().mean(), (first[1:] == first[:-1]).float().mean()):
            assert abs(share - 0.5) < 4 * 0.5 / 200

    def test_an_image_keeps_its_draw_wherever_it_stands(self) -> None:
        order = torch.randperm(100, generator=generator())
        assert torch.equal(self.flipped(0, order), self.flipped(0, torch.arange(100))[order])

    def test_axes_are_independent(self) -> None:
        draw = Draw(generator(), torch.arange(40_000))
        same = (draw.of_image(1) < 0.5) == (draw.of_image(2) < 0.5)
        assert abs(same.float().mean() - 0.5) < 0.01

    def test_of_image_is_even(self) -> None:
        values = Draw(generator(), torch.arange(50_000), seed=7).of_image(1)
        counts = torch.histc(values, 50, 0, 1)
        assert ((counts - 1000) ** 2 / 1000).sum() < 85.4  # 49 degrees of freedom, p = 0.001
