"""The threshold below which a net is unsure."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snugnet.errors import UsageError
from snugnet.evaluate import abstain

RIGHT = [True, True, False, True, False, False]  # from the surest image on


def said(right: list[bool] = RIGHT) -> tuple[Tensor, Tensor]:
    """Logits of two classes, each image less sure than the one before, and labels."""
    logits = torch.stack([torch.arange(len(right), 0, -1) / 2, torch.zeros(len(right))], 1)
    return logits, torch.tensor([0 if each else 1 for each in right])


@pytest.mark.parametrize(
    ("wanted", "answered", "right"),
    [
        ("1", 2, 2), ("0.75", 4, 3), ("0.76", 2, 2), ("60%", 5, 3), ("accuracy=0.5", 6, 3), ("0.01", 6, 3),
        ("coverage=0.5", 3, 2), ("coverage=0.51", 4, 3), ("coverage=1", 6, 3), ("coverage=0.01", 1, 1),
    ],
)  # fmt: skip
def test_as_many_as_can_be_are_answered(wanted: str, answered: int, right: int):
    logits, labels = said()
    found = abstain.choose(logits, labels, abstain.parse(wanted))
    assert (found.answered, found.right, found.images) == (answered, right, 6)
    sure = abstain.confidences(logits, found.temperature)
    assert int((sure >= found.probability).sum()) == answered


def test_the_order_of_the_images_is_all_one():
    logits, labels = said()
    order = torch.tensor([3, 0, 5, 2, 4, 1])
    wanted = abstain.parse("0.75")
    assert abstain.choose(logits[order], labels[order], wanted) == abstain.choose(logits, labels, wanted)


def test_images_of_equal_probability_are_answered_together():
    logits, labels = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 1, 0])
    with pytest.raises(
        UsageError,
        match=r"^--abstain: no threshold makes 90\.00 % of the answers on val right; the best is 66\.67 % of 3 of 3 "
        r"images; want less$",
    ):
        abstain.choose(logits, labels, abstain.parse("0.9"))
    assert abstain.choose(logits, labels, abstain.parse("coverage=0.1")).answered == 2


def test_where_all_is_right_no_temperature_is_needed():
    found = abstain.choose(*said([True] * 4), abstain.parse("1"))
    assert (found.temperature, found.answered) == (1.0, 4)
    assert found.words == (
        f"unsure below a probability of {found.probability:.4f}: on val (4 images) 100.00 % are answered, 100.00 % "
        "of them rightly (95 % interval 51.01 to 100.00 %). It was chosen on these very images, so expect less of "
        "others, and nothing of images of another kind"
    )
