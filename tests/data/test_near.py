"""Images that look alike without being equal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures import photos
from PIL import Image

from snugnet.data import check as check_module
from snugnet.data import near
from snugnet.data.check import check


def looks(images: torch.Tensor) -> list[bytes]:
    return list(near.fields(images))


def test_one_photograph_brighter_noisier_and_shifted_is_found_among_others():
    seen = photos(300)
    random = torch.Generator().manual_seed(1)
    noise = 5 * torch.randn(seen[:3].shape, generator=random)
    brighter = (seen[:1].float() * 0.9 + 20).to(torch.uint8)
    changed = torch.cat([brighter, (seen[1:2] + noise[1:2]).clamp(0, 255).to(torch.uint8), seen[2:3].roll(1, 3)])
    found = near.alike(looks(torch.cat([photos(50, seed=9), changed])), looks(seen))
    assert [(pair.first, pair.second) for pair in found] == [(50, 0), (51, 1), (52, 2)]
    assert all(near.ALIKE <= pair.product <= 1.00001 for pair in found)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    first, second = looks(photos(20, seed=1)), looks(photos(30, seed=2))
    whole = near.alike(first, second, 0.0)
    monkeypatch.setattr(near, "ROWS", 7)
    monkeypatch.setattr(near, "COLUMNS", 11)
    assert [(each.first, each.second) for each in near.alike(first, second, 0.0)] == [
        (each.first, each.second) for each in whole
    ]
    assert len(whole) == 20


def test_blank_images_look_like_nothing():
    blank = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)
    blank[1] += torch.arange(32).div(8).floor().to(torch.uint8)  # a level a quarter
    assert near.alike(looks(blank), looks(blank)) == []
    assert near.alike([], looks(blank)) == near.alike(looks(blank), []) == []


def test_check_reports_them_across_splits_and_not_the_equal_ones(pets: Path):
    pictures = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in photos(4, height=8, width=8)]
    for number, picture in enumerate(pictures):
        picture.save(pets / "train" / "cat" / f"photo{number}.png")
    pictures[0].save(pets / "test" / "dog" / "equal.png")
    pictures[1].point(lambda level: min(255, level + 3)).save(pets / "test" / "cat" / "brighter.png")
    told = [problem for problem in check(str(pets)).problems if "look like one of train" in problem.message]
    assert [f"{each.severity}: {each}".replace(str(pets), "X") for each in told] == [
        "warning: X: 1 of 6 images of test look like one of train (test/cat/brighter.png ~ train/cat/photo1.png): "
        "scores on them are of what was seen: read the others, or remove them"
    ]


def test_more_pairs_than_anybody_waits_for_are_not_looked_at(pets: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(check_module.near, "MOST_PAIRS", 4 * 20 - 1)
    assert [str(problem).replace(str(pets), "X") for problem in check(str(pets)).problems] == [
        "X: test and train are too many images to look for those that are almost alike: look among a part of them"
    ]
