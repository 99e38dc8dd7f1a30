"""The pixels are those of `snug predict`, to the bit; only this file needs torch."""

from __future__ import annotations

import pytest
from picture_files import KINDS, noise

from snugnet_runtime.images import pixels
from snugnet_runtime.model import Card

given = pytest.importorskip("snugnet.data.given", reason="without torch there is nothing to compare with")


COLOURED = Card(32, 3, ("a",), (0, 0, 0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("name", KINDS)
def test_pixels_are_those_of_snug_predict(name: str, size: int, channels: int):
    ours = pixels(KINDS[name], Card(size, channels, ("a",), (0,) * channels), name)
    theirs = given.one(KINDS[name], channels, size, name)
    assert ours.shape == (channels, size, size)
    assert (ours == theirs.numpy()).all()


def test_the_kinds_are_what_they_are_called():
    assert noise("I;16").mode == "I;16"
    modes = {name: pixels(data, COLOURED, name).std() for name, data in KINDS.items()}
    assert all(spread > 0 for name, spread in modes.items() if name != "moving.gif"), "something is on them"
    first = pixels(KINDS["moving.gif"], COLOURED, "")
    assert first[:, 0, 0].tolist() == [255, 0, 0], "the first frame"
