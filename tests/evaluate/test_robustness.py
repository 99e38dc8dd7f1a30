"""The table of a net under corruption: what is counted, in which order, and the means."""

import pytest
import torch
from torch import nn

from snugnet.data.config import Normalization
from snugnet.data.images import Images
from snugnet.data.loader import EvalLoader
from snugnet.device import Compute
from snugnet.evaluate.corrupt import corrupt
from snugnet.evaluate.robustness import UnderCorruption, robustness, summed

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1, 1, 0, 1, 1, 1])
PIXELS = (torch.tensor([40, 200, 200, 40, 200, 200, 40]).view(-1, 1, 1, 1)).to(torch.uint8).expand(-1, 3, 8, 8)


class Bright(nn.Module):
    """Class 1 where an image is brighter than the middle; knows what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, images):
        self.shown.append(images)
        level = images.mean((1, 2, 3))
        return torch.stack([-level, level], 1)


def loader(change):
    constants = Normalization(mean=(0.5,) * 3, std=(1.0,) * 3)
    return EvalLoader(Images(PIXELS, LABELS, None), constants, batch_size=4, device=CPU, change=change)


def test_each_corruption_at_each_strength_once_in_order():
    model, told = Bright(), []
    got = robustness(
        model, loader, Compute(CPU, "fp32"), LABELS, clean=6 / 7, names=["brightness", "jpeg"], watch=told.append
    )
    assert [each.accuracy for each in got.corruptions] == [(6 / 7,) * 5] * 2
    assert [(each.name, each.done, each.total, each.images) for each in told] == [
        ("", 0, 10, 7),
        *(("brightness", done, 10, 7) for done in range(1, 6)),
        *(("jpeg", done, 10, 7) for done in range(6, 11)),
    ]
    third = torch.cat(model.shown[4:6])  # two batches each; the places in the split reach the draws
    expected = corrupt(PIXELS, torch.arange(7), "brightness", 3).float() / 255 - 0.5
    torch.testing.assert_close(third, expected)


def test_a_net_that_light_confuses():
    got = robustness(
        Bright(), lambda change: loader(lambda images, places: 255 - change(images, places)), Compute(CPU, "fp32"),
        LABELS, clean=1.0, names=["contrast"], watch=lambda judged: None,
    )  # fmt: skip
    assert got.corruptions[0].accuracy == pytest.approx((1 / 7,) * 5)
    assert got.relative_drop == pytest.approx(6 / 7)


def under(name, family, mean):
    return UnderCorruption(name=name, family=family, accuracy=(mean,) * 5, mean=mean, relative_drop=0.0)


def test_four_kinds_of_noise_are_one_family():
    found = [under(f"{k}", "noise", 0.2) for k in range(4)] + [under("fog", "weather", 0.6)]
    got = summed(found, 10, 0.8)
    assert got.families == pytest.approx({"noise": 0.2, "weather": 0.6})
    assert (got.mean, got.mean_over_families, got.relative_drop) == pytest.approx((0.28, 0.4, 0.65))
    assert summed(found, 10, 0.0).relative_drop == 0
