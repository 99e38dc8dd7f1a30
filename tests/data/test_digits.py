from __future__ import annotations

import torch

from snugnet.data.digits import Digits
from snugnet.data.images import DataInfo, content_hashes


def test_digits_are_there_without_a_download():
    digits = Digits()
    assert digits.describe() == DataInfo("digits", tuple("0123456789"), 1, 8)
    train, test = digits.read("train"), digits.read("test")
    assert digits.read("val") is None
    assert len(train) + len(test) == 1797
    assert train.pixels.shape[1:] == (1, 8, 8)
    assert (train.pixels.dtype, train.pixels.min(), train.pixels.max()) == (torch.uint8, 0, 255)
    assert not set(content_hashes(train)) & set(content_hashes(test))


def test_a_fifth_of_each_class_is_for_testing():
    train, test = (Digits().read(split).labels.bincount() for split in ("train", "test"))
    assert (test - (train + test) * 0.2).abs().max() <= 0.5
