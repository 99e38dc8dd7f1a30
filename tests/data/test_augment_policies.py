"""Policies, beside torchvision's: the same tables, and bitwise the same images for the same draws."""

from __future__ import annotations

import pytest
import torch
from pictures import SHAPES, by_pillow, photos
from PIL import Image

from snugnet.data.augment import AugMix, AutoAugment, RandAugment, TrivialAugment, levels, policies
from snugnet.data.augment.draw import Draw

theirs = pytest.importorskip("torchvision.transforms.autoaugment")
NEAREST, BILINEAR = theirs.InterpolationMode.NEAREST, theirs.InterpolationMode.BILINEAR
NAMES = {
    "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX", "translate_y": "TranslateY",
    "rotate": "Rotate", "brightness": "Brightness", "color": "Color", "contrast": "Contrast", "sharpness": "Sharpness",
    "posterize": "Posterize", "solarize": "Solarize", "autocontrast": "AutoContrast", "equalize": "Equalize",
    "invert": "Invert",
}  # fmt: skip
COUNT = 400
shapes = pytest.mark.parametrize("shape", SHAPES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def integers(low: int, high: int, random: torch.Generator) -> torch.Tensor:
    return torch.randint(low, high, (COUNT,), generator=random)


def one(image: Image.Image, name: str | None, magnitude: float, mode: object = NEAREST) -> Image.Image:
    """torchvision's operation on a Pillow image."""
    return image if name is None else theirs._apply_op(image, name, magnitude, mode, None)


def signed(table: levels.Levels, kinds: torch.Tensor, bins: torch.Tensor, random: torch.Generator) -> list[tuple]:
    """Name and magnitude for each image; draws a sign for each, needed or not."""
    signs = 2.0 * integers(0, 2, random) - 1
    found = []
    for kind, place, sign in zip(kinds.tolist(), bins.tolist(), signs.tolist(), strict=True):
        name = None if kind < 0 else table.names[kind]
        magnitude = 0.0 if name is None else table.values[kind, place].item()
        found.append((name and NAMES[name], magnitude * sign if name in levels.SIGNED else magnitude))
    return found


def chain(images: torch.Tensor, steps: list[list[tuple]], mode: object = NEAREST) -> torch.Tensor:
    def change(image: Image.Image, index: int) -> Image.Image:
        for step in steps:
            image = one(image, *step[index], mode)
        return image

    return by_pillow(change, images, torch.arange(len(images)))


def assert_same_table(ours: levels.Levels, space: dict) -> None:
    assert {NAMES[name] for name in ours.names} == set(space) - {"Identity"}
    for name, values in zip(ours.names, ours.values, strict=True):
        magnitudes, is_signed = space[NAMES[name]]
        expected = magnitudes if magnitudes.ndim else torch.zeros(ours.values.shape[1])
        assert values.tolist() == expected.double().tolist(), name
        assert is_signed == (name in levels.SIGNED)


def test_levels_are_torchvisions() -> None:
    auto, random = theirs.AutoAugment(theirs.AutoAugmentPolicy.CIFAR10), theirs.RandAugment()
    width, height = 150 / 331 * 40, 150 / 331 * 24
    assert_same_table(policies.levels(10, width, height), auto._augmentation_space(10, (24, 40)))
    table = policies.without_invert(policies.levels(31, width, height))
    assert_same_table(table, random._augmentation_space(31, (24, 40)))
    wide = policies.levels(31, 32.0, 32.0, shear=0.99, degrees=135.0, blend=0.99, bits=(8, 2))
    assert_same_table(policies.without_invert(wide), theirs.TrivialAugmentWide()._augmentation_space(31))
    mix = policies.without_invert(policies.levels(10, 40 / 3, 24 / 3, bits=(4, 0)))
    assert_same_table(mix, theirs.AugMix()._augmentation_space(10, (24, 40)))


def test_sub_policies_are_torchvisions() -> None:
    names = policies.levels(10, 1.0, 1.0).names
    kinds, chances, bins = policies.cifar10_policy(names)
    ours = [
        tuple((NAMES[names[kind]], round(p, 6), place) for kind, p, place in zip(*row, strict=True))
        for row in zip(kinds.tolist(), chances.tolist(), bins.tolist(), strict=True)
    ]
    published = theirs.AutoAugment(theirs.AutoAugmentPolicy.CIFAR10).policies
    assert ours == [tuple((name, p, place or 0) for name, p, place in policy) for policy in published]


@shapes
def test_auto_augment(shape: tuple[int, int, int]) -> None:
    images, random = photos(COUNT, *shape), generator(1)
    table = policies.levels(10, 150 / 331 * shape[2], 150 / 331 * shape[1])
    kinds, chances, bins = policies.cifar10_policy(table.names)
    chosen, steps = integers(0, 25, random), []
    for turn in range(2):
        happens = torch.rand(COUNT, generator=random) < chances[chosen, turn]
        steps.append(signed(table, torch.where(happens, kinds[chosen, turn], -1), bins[chosen, turn], random))
    ours = AutoAugment(op="auto_augment").apply(images, generator(1))
    assert torch.equal(ours, chain(images, steps))


@shapes
def test_rand_augment(shape: tuple[int, int, int]) -> None:
    images, random = photos(COUNT, *shape), generator(1)
    table = policies.without_invert(policies.levels(31, 150 / 331 * shape[2], 150 / 331 * shape[1]))
    steps = [signed(table, integers(-1, 13, random), torch.full((COUNT,), 14), random) for _ in range(3)]
    ours = RandAugment(op="rand_augment", operations=3, magnitude=14).apply(images, generator(1))
    assert torch.equal(ours, chain(images, steps))


@shapes
def test_trivial_augment(shape: tuple[int, int, int]) -> None:
    images, random = photos(COUNT, *shape), generator(1)
    wide = policies.levels(31, 32.0, 32.0, shear=0.99, degrees=135.0, blend=0.99, bits=(8, 2))
    steps = [signed(policies.without_invert(wide), integers(-1, 13, random), integers(0, 31, random), random)]
    assert torch.equal(TrivialAugment(op="trivial_augment").apply(images, generator(1)), chain(images, steps))


@shapes
def test_aug_mix(shape: tuple[int, int, int]) -> None:
    """Bilinear sampling may be one level off in each operation of a chain."""
    images, random = photos(COUNT, *shape), generator(1)
    table = policies.without_invert(policies.levels(10, shape[2] / 3, shape[1] / 3, bits=(4, 0)))
    last = torch._sample_dirichlet(torch.ones(COUNT, 2), random)
    weights = torch._sample_dirichlet(torch.ones(COUNT, 3), random) * last[:, 1:]
    total = images * last[:, 0].view(-1, 1, 1, 1)
    for chain_weights in weights.unbind(1):
        depth, steps = integers(1, 4, random), []
        for done in range(3):
            kinds = torch.where(done < depth, integers(0, 13, random), -1)
            steps.append(signed(table, kinds, integers(0, 3, random), random))
        total += chain(images, steps, BILINEAR) * chain_weights.view(-1, 1, 1, 1)
    off = (AugMix(op="aug_mix").apply(images, generator(1)).int() - total.int()).abs()
    assert (off <= 1).float().mean() > 0.995
    assert off.float().mean() < 0.05


def test_sub_policies_are_drawn_evenly() -> None:
    chosen = Draw.of(generator(), photos(1).expand(25_000, -1, -1, -1)).integers(0, 25)
    counts = torch.bincount(chosen, minlength=25)
    assert ((counts - 1000) ** 2 / 1000).sum() < 51.2  # 24 degrees of freedom, p = 0.001


def test_trivial_augment_leaves_a_share_of_images_as_they_are() -> None:
    """One choice of 14 is nothing; levels that change nothing add a little."""
    noise = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=generator(5)).expand(4000, -1, -1, -1)
    same = (TrivialAugment(op="trivial_augment").apply(noise, generator()) == noise).flatten(1).all(1)
    assert 1 / 14 - 0.02 < same.float().mean() < 3 / 14
