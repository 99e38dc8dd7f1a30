"""Augmentations of a user's own: run by permission alone, on the images that drew them, and held to what they get."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pictures import photos

from snugnet.data.augment import Augmentation, Draw, Foreign, try_out
from snugnet.data.config import Normalization
from snugnet.data.copies import Copies
from snugnet.data.images import Images
from snugnet.data.loader import TrainLoader
from snugnet.errors import RecipeError
from snugnet.foreign import code_allowed
from snugnet.train.config import TrainConfig


@pytest.fixture(autouse=True)
def _allowed():
    with code_allowed():
        yield


def own(name: str, **options: object) -> Foreign:
    return Foreign.parse({"op": f"own_code:{name}", **options})


def operations(*tables: dict[str, object]) -> Augmentation:
    return TrainConfig.parse({"epochs": 1, "augment": tables}).augment


def draw(count: int, seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed), torch.arange(count))


def test_nothing_is_imported_without_permission():
    words = r"^augmentation own_code:Noise: runs foreign code, which needs permission; read it, then add --allow-code$"
    for run in (own("Noise").made, lambda: try_out([own("Noise")], 3, 8)):
        with code_allowed(False), pytest.raises(RecipeError, match=words):
            run()


def test_options_reach_it_and_stay_as_they_are():
    change = own("Noise", options={"most": 3}).made()
    images = torch.zeros(64, 1, 4, 4, dtype=torch.uint8)
    assert change(images, draw(64)).unique().tolist() == [1, 2, 3]
    assert not images.any()


def test_a_seed_gives_one_result():
    images, change = photos(64), own("Noise").made()
    first, again, other = (change(images, draw(64, seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_p_is_the_share_that_is_changed():
    images = photos(1).expand(2000, -1, -1, -1)
    for p in (0.0, 0.3, 1.0):
        changed = (own("Noise", p=p).made()(images, draw(2000)) != images).flatten(1).any(1)
        assert abs(changed.float().mean().item() - p) <= 4.5 * (p * (1 - p) / 2000) ** 0.5


def test_it_sees_the_images_that_drew_it_and_their_own_draw():
    images = photos(60)
    changed = own("Numbered", p=0.5).made()(images, draw(60))
    rows = (changed != images).flatten(1).any(1).nonzero().flatten()
    assert 15 < len(rows) < 45
    assert changed[rows, 0, 0, 0].tolist() == rows.tolist()
    assert set(changed[rows, 0, 0, 1].tolist()) == {len(rows)}


def test_only_allowed_images_are_changed():
    images, allowed = photos(64), torch.arange(64) % 2 == 1
    changed = own("Noise").made()(images, replace(draw(64), allowed=allowed))
    assert torch.equal(changed[~allowed], images[~allowed])
    assert (changed[allowed] != images[allowed]).flatten(1).any(1).all()


def test_only_the_copies_of_a_loader_are_changed():
    images = Images(photos(32), torch.arange(32), None)
    plain = Normalization(mean=(0.0,) * 3, std=(1.0,) * 3)
    loader = TrainLoader(
        images, plain, classes=32, batch_size=8, augment=[own("Noise")], seed=0, device=torch.device("cpu"),
        copies=Copies(torch.tensor([3, 4, 3]), only=True),
    )  # fmt: skip
    changed = []
    for batch, labels in loader.epoch(0):
        differs = ((batch * 255).round() != images.pixels[labels]).flatten(1).any(1)
        changed += labels[differs].tolist()
    assert sorted(changed) == [3, 3, 4]


def test_it_may_stand_behind_normalize():
    floats = photos(8) / 255
    changed = own("Noise").made()(floats, draw(8))
    assert changed.dtype == torch.float32
    assert not torch.equal(changed, floats)
    try_out(operations({"op": "normalize"}, {"op": "own_code:Noise"}), 3, 8)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Nois", {}, "own_code has nothing to call of the name 'Nois', did you mean 'Noise'?"),
        ("Noise", {"mots": 3}, "cannot be made with options {'mots': 3} (TypeError: Noise.__init__() got an unexpected "
         "keyword argument 'mots'); correct it"),
        ("number", {}, "must return something to call; got int"),
        ("Failing", {}, "cannot change uint8 images (2, 3, 8, 8) on cpu (KeyError: 'threshold'); correct it"),
        ("Floats", {}, "must return uint8 images (2, 3, 8, 8) on cpu, as it was given; "
         "got float32 images (2, 3, 8, 8) on cpu"),
        ("Smaller", {}, "must return uint8 images (2, 3, 8, 8) on cpu, as it was given; "
         "got uint8 images (2, 3, 7, 8) on cpu"),
        ("Nothing", {}, "must return uint8 images (2, 3, 8, 8) on cpu, as it was given; got NoneType"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_is_said(name: str, options: dict[str, object], words: str):
    with pytest.raises(RecipeError) as caught:
        try_out([own(name, options=options, p=0.01)], 3, 8)
    assert str(caught.value) == f"augmentation own_code:{name}: {words}"


def test_bytes_are_wanted_before_normalize_and_floats_behind_it():
    try_out(operations({"op": "normalize"}, {"op": "own_code:Floats"}), 3, 8)
    with pytest.raises(RecipeError, match="must return uint8 images"):
        try_out(operations({"op": "own_code:Floats"}, {"op": "normalize"}), 3, 8)


def test_a_batch_is_held_to_it_as_well():
    with pytest.raises(RecipeError, match=r"must return uint8 images \(5, 3, 32, 32\) on cpu, as it was given"):
        own("Smaller").made()(photos(5), draw(5))
