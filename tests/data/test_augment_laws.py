"""What holds for every operation."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import get_args

import pytest
import torch
from pictures import SHAPES, photos
from pydantic import ValidationError

from snugnet.config import Frozen
from snugnet.data import augment
from snugnet.data.augment import Change, Draw, Normalize, split_at_normalize
from snugnet.data.augment.draw import on_chosen

OPERATIONS: dict[str, Change] = {
    operation.op: operation
    for operation in (
        augment.Flip(op="flip"),
        augment.Crop(op="crop"),
        augment.Rotate(op="rotate", degrees=30),
        augment.Affine(op="affine", degrees=10, translate=(0.2, 0.2), scale=(0.8, 1.2), shear=(10, 10)),
        augment.Perspective(op="perspective", p=1.0),
        augment.ColorJitter(op="color_jitter", brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1),
        augment.Blur(op="blur", radius=(1.0, 2.0)),
        augment.Cutout(op="cutout", size=5),
        augment.Erase(op="erase", p=1.0),
        augment.AutoAugment(op="auto_augment"),
        augment.RandAugment(op="rand_augment"),
        augment.TrivialAugment(op="trivial_augment"),
        augment.AugMix(op="aug_mix"),
    )
}
each = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def draw(count: int, seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed), torch.arange(count))


def with_p(operation: Change, p: float) -> Change:
    return operation.model_copy(update={"p": p})


def test_all_are_here() -> None:
    assert set(OPERATIONS) == {get_args(kind.model_fields["op"].annotation)[0] for kind in get_args(Change)}


@each
@pytest.mark.parametrize("shape", SHAPES)
def test_shape_and_type_stay_and_the_input_too(operation: Change, shape: tuple[int, int, int]) -> None:
    images = photos(64, *shape)
    before = images.clone()
    changed = operation.apply(images, draw(64))
    assert changed.dtype == torch.uint8
    assert changed.shape == images.shape
    assert torch.equal(images, before)
    assert not torch.equal(changed, images)


@each
def test_a_seed_gives_one_result(operation: Change) -> None:
    images = photos(64)
    first, again, other = (operation.apply(images, draw(64, seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@each
def test_a_bare_generator_is_the_first_epoch(operation: Change) -> None:
    images = photos(16)
    bare = operation.apply(images, torch.Generator().manual_seed(0))
    assert torch.equal(bare, operation.apply(images, draw(16)))


@each
def test_nothing_at_p_0(operation: Change) -> None:
    images = photos(64)
    assert torch.equal(with_p(operation, 0.0).apply(images, draw(64)), images)


@each
def test_p_is_the_share_that_is_changed(operation: Change) -> None:
    """Beside the share that is changed at p = 1, where some draws change nothing."""
    noise = torch.randint(0, 256, (1, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(9))
    noise = noise.expand(2000, -1, -1, -1)
    full, part = (
        (with_p(operation, p).apply(noise, draw(2000, seed=k)) != noise).flatten(1).any(1).float().mean().item()
        for k, p in enumerate((1.0, 0.3))
    )
    assert full > 0.5
    assert abs(part - 0.3 * full) < 4.5 * math.sqrt(0.3 * 0.7 / 2000)


@each
def test_equal_images_are_changed_by_draws_of_their_own(operation: Change) -> None:
    changed = operation.apply(photos(1).expand(64, -1, -1, -1), draw(64))
    assert len(changed.unique(dim=0)) > (1 if operation.op == "flip" else 8)


@each
def test_an_image_depends_on_no_other(operation: Change) -> None:
    images, others = photos(64), photos(64, seed=1)
    mixed = torch.where((torch.arange(64) % 2 == 0).view(-1, 1, 1, 1), images, others)
    changed, beside = operation.apply(images, draw(64)), operation.apply(mixed, draw(64))
    assert torch.equal(changed[::2], beside[::2])


@each
def test_only_allowed_images_are_changed(operation: Change) -> None:
    images, allowed = photos(64), torch.arange(64) % 2 == 1
    changed = operation.apply(images, replace(draw(64), allowed=allowed))
    assert torch.equal(changed[~allowed], images[~allowed])
    assert not torch.equal(changed[allowed], images[allowed])
    none = operation.apply(images, replace(draw(64), allowed=torch.zeros(64, dtype=torch.bool)))
    assert torch.equal(none, images)


@each
def test_floats_where_they_are_taken(operation: Change) -> None:
    if not operation.takes_floats:
        with pytest.raises(ValueError, match=f"^{operation.op} needs pixels of 0 to 255; put it before normalize$"):
            split_at_normalize([Normalize(op="normalize"), operation])
        return
    floats = photos(64).float().contiguous(memory_format=torch.channels_last) / 255 - 0.5
    changed = operation.apply(floats, draw(64))
    assert changed.dtype == torch.float32
    assert changed.min() >= -0.5 - 1e-5
    assert changed.max() <= 0.5 + 1e-5


@each
def test_a_recipe_holds_it(operation: Change) -> None:
    assert isinstance(operation, Frozen)
    assert type(operation).parse(operation.plain()) == operation


def test_chance_of_one_takes_no_draw() -> None:
    some = draw(4)
    before = some.generator.get_state()
    assert some.chance(1.0) is None
    assert torch.equal(some.generator.get_state(), before)


def test_a_change_gets_the_draw_of_its_own_images() -> None:
    seen: list[list[int]] = []

    def change(images: torch.Tensor, part: Draw) -> torch.Tensor:
        seen.append(part.indices.tolist())
        return images + 1

    images = torch.zeros(4, 1, 1, 1)
    chosen = torch.tensor([False, True, False, True])
    changed = on_chosen(images, draw(4), chosen, change)
    assert changed.flatten().tolist() == [0, 1, 0, 1]
    assert seen == [[1, 3]]


class TestOrder:
    FLIP, ERASE, NORMALIZE = augment.Flip(op="flip"), augment.Erase(op="erase"), Normalize(op="normalize")

    def test_normalisation_divides_the_list(self) -> None:
        assert split_at_normalize([self.FLIP, self.NORMALIZE, self.ERASE]) == ((self.FLIP,), (self.ERASE,))
        assert split_at_normalize([self.FLIP, self.ERASE]) == ((self.FLIP, self.ERASE), ())
        assert split_at_normalize([]) == ((), ())

    def test_it_stands_once(self) -> None:
        with pytest.raises(ValueError, match=r"^normalize may stand once; got it 2 times$"):
            split_at_normalize([self.NORMALIZE, self.FLIP, self.NORMALIZE])

    def test_a_pixel_has_no_fraction(self) -> None:
        erase = self.ERASE.replaced(value=0.5)
        with pytest.raises(ValueError, match=r"^erase before normalize needs a whole value of 0 to 255; got 0\.5$"):
            split_at_normalize([erase])
        assert split_at_normalize([self.NORMALIZE, erase]) == ((), (erase,))


@pytest.mark.parametrize(
    ("operation", "name", "value"),
    [
        ("erase", "scale", [0.3, 0.1]),
        ("erase", "ratio", [3, 1]),
        ("blur", "radius", [2, 1]),
        ("affine", "scale", [2, 1]),
    ],
)
def test_a_range_upside_down(operation: str, name: str, value: list[float]) -> None:
    text = r"must be \[smallest, largest\]; got " + re.escape(f"[{value[0]:g}, {value[1]:g}]")
    with pytest.raises(ValidationError, match=text) as caught:
        type(OPERATIONS[operation]).parse({"op": operation, name: value})
    assert caught.value.errors()[0]["loc"] == (name,)
