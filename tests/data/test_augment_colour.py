"""Colour operations and blur, beside Pillow: bitwise, and at most one level for blur."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pictures import SHAPES, by_pillow, difference, photos
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from snugnet.data.augment import Blur, ColorJitter, blur, colour
from snugnet.errors import RecipeError

COUNT = 48
shapes = pytest.mark.parametrize("shape", SHAPES)


def uniform(low: float, high: float, seed: int = 1) -> torch.Tensor:
    return low + (high - low) * torch.rand(COUNT, generator=torch.Generator().manual_seed(seed)).double()


def enhanced(name: str) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, factor: getattr(ImageEnhance, name)(image).enhance(factor)


@shapes
@pytest.mark.parametrize("name", ["brightness", "color", "contrast", "sharpness"])
def test_enhancements(name: str, shape: tuple[int, int, int]) -> None:
    images, factor = photos(COUNT, *shape), uniform(0, 2.5)
    factor[:4] = torch.tensor([0.0, 1.0, 2.0, 0.1])
    ours = getattr(colour, name)(images, factor)
    assert torch.equal(ours, by_pillow(enhanced(name.capitalize()), images, factor))


@shapes
@pytest.mark.parametrize("name", ["autocontrast", "equalize", "invert"])
def test_without_a_level(name: str, shape: tuple[int, int, int]) -> None:
    images = photos(COUNT, *shape)
    images[0], images[1, :, :, :4] = 7, 250
    images[2] = images[2] // 128 * 90  # two levels
    assert torch.equal(getattr(colour, name)(images), by_pillow(getattr(ImageOps, name), images))


@shapes
def test_posterize(shape: tuple[int, int, int]) -> None:
    images, bits = photos(COUNT, *shape), torch.arange(COUNT) % 8 + 1
    assert torch.equal(colour.posterize(images, bits.double() + 0.4), by_pillow(ImageOps.posterize, images, bits))
    assert not colour.posterize(images, torch.zeros(COUNT)).any()


@shapes
def test_solarize(shape: tuple[int, int, int]) -> None:
    images, threshold = photos(COUNT, *shape), uniform(0, 255)
    threshold[:3] = torch.tensor([0.0, 255.0, 128.0])
    assert torch.equal(colour.solarize(images, threshold), by_pillow(ImageOps.solarize, images, threshold))


def test_hue() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = torch.randint(0, 256, (COUNT, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:16] = photos(16)
    images[16] = 80
    turn = uniform(-0.5, 0.5)
    turn[:3] = torch.tensor([0.0, -0.5, 0.5])
    assert torch.equal(colour.hue(images, turn), by_pillow(functional.adjust_hue, images, turn))


def test_hue_and_saturation_leave_gray_images() -> None:
    images = photos(4, 1)
    assert torch.equal(colour.hue(images, torch.full((4,), 0.3)), images)
    assert torch.equal(colour.color(images, torch.full((4,), 0.3)), images)


def test_two_channels_are_refused() -> None:
    message = (
        r"^train\.augment: colour operations need images of 1 or 3 channels, these have 2: "
        r"remove the operation, or convert the images$"
    )
    with pytest.raises(RecipeError, match=message):
        colour.contrast(photos(4, 2), torch.ones(4))


@shapes
@pytest.mark.parametrize("radius", [(0.1, 1.5), (1.5, 6.0)])
def test_gaussian_blur(shape: tuple[int, int, int], radius: tuple[float, float]) -> None:
    if shape[1] < 2 * radius[1] + 3:
        pytest.skip("Pillow treats boxes wider than the image in a way of its own")
    images, sigma = photos(COUNT, *shape), uniform(*radius)
    theirs = by_pillow(lambda image, value: image.filter(ImageFilter.GaussianBlur(value)), images, sigma)
    assert difference(blur.gaussian_blur(images, sigma), theirs) <= 1


def test_blur_keeps_a_flat_image_and_the_mean_of_floats() -> None:
    flat = torch.full((3, 1, 9, 9), 77, dtype=torch.uint8)
    sigma = torch.tensor([0.1, 1.0, 50.0])
    assert torch.equal(blur.gaussian_blur(flat, sigma), flat)
    dot = torch.zeros(1, 1, 15, 15)
    dot[0, 0, 7, 7] = 1
    spread = blur.gaussian_blur(dot, torch.tensor([1.2]))
    torch.testing.assert_close(spread.sum(), torch.tensor(1.0))
    place = torch.arange(15.0) - 7
    torch.testing.assert_close((spread[0, 0].sum(0) * place**2).sum().sqrt(), torch.tensor(1.2), rtol=1e-4, atol=0)


def test_blur_is_drawn_for_each_image() -> None:
    noise = torch.randint(0, 256, (1, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    blurred = Blur(op="blur").apply(noise.expand(200, -1, -1, -1), torch.Generator().manual_seed(0))
    assert len(blurred.unique(dim=0)) > 100


def test_jitter_is_the_four_in_the_drawn_order() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    jitter = ColorJitter(op="color_jitter", brightness=0.4, contrast=0.3, saturation=1.5, hue=0.2)
    images = photos(COUNT)
    random = torch.Generator().manual_seed(3)
    order = torch.rand(COUNT, 4, generator=random).argsort(1)
    ranges = [(0.6, 1.4), (0.7, 1.3), (0.0, 2.5), (-0.2, 0.2)]
    factors = [low + (high - low) * torch.rand(COUNT, generator=random) for low, high in ranges]
    names = ["brightness", "contrast", "saturation", "hue"]

    def change(image: Image.Image, order: list[int], *factors: float) -> Image.Image:
        for kind in order:
            image = getattr(functional, f"adjust_{names[kind]}")(image, factors[kind])
        return image

    theirs = by_pillow(change, images, order, *factors)
    assert torch.equal(jitter.apply(images, torch.Generator().manual_seed(3)), theirs)
