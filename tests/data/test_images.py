from __future__ import annotations

import torch

from snugnet.data.images import Images, content_hashes, digest, held_out


def made(count: int = 60, classes: int = 3) -> Images:
    pixels = torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images(pixels, torch.arange(count) % classes, tuple(map(str, range(count))))


def test_select_takes_pixels_labels_and_names_together():
    some = made().select(torch.tensor([5, 2]))
    assert torch.equal(some.pixels, made().pixels[[5, 2]])
    assert some.labels.tolist() == [2, 2]
    assert some.names == ("5", "2")
    assert len(some) == 2


def test_select_of_nothing_is_empty():
    none = made().select(torch.empty(0, dtype=torch.int64))
    assert len(none) == 0
    assert none.pixels.shape == (0, 1, 4, 4)
    assert none.names == ()


def test_hashes_are_of_the_pixels_alone():
    images = made()
    other = Images(images.pixels, images.labels.flip(0), None)
    assert content_hashes(images) == content_hashes(other)
    assert len(set(content_hashes(images))) == 60


def test_hashes_do_not_depend_on_how_the_tensor_lies_in_memory():
    images = made()
    strided = Images(images.pixels.transpose(2, 3).contiguous().transpose(2, 3), images.labels, None)
    assert content_hashes(images) == content_hashes(strided)


def test_digest_depends_on_pixels_and_labels_and_not_on_order():
    images = made()
    assert digest(images) == digest(images.select(torch.randperm(60)))
    assert digest(images) != digest(Images(images.pixels, (images.labels + 1) % 3, None))
    assert digest(images) != digest(images.select(torch.arange(59)))


def test_held_out_is_the_fraction_of_each_class_with_the_lowest_hashes():
    images = made()
    hashes = content_hashes(images)
    mask = held_out(images.labels, hashes, 0.1)
    assert torch.bincount(images.labels[mask]).tolist() == [2, 2, 2]
    for label in range(3):
        own = sorted(value for value, other in zip(hashes, images.labels.tolist(), strict=True) if other == label)
        assert sorted(hashes[i] for i in mask.nonzero().flatten() if images.labels[i] == label) == own[:2]


def test_equal_pixels_are_never_on_both_sides_even_across_classes():
    labels = torch.tensor([0] * 10 + [1] * 10)
    hashes = [b"a"] * 3 + [bytes([100 + i]) for i in range(7)] + [b"A", b"a"] + [bytes([200 + i]) for i in range(8)]
    mask = held_out(labels, hashes, 0.1)
    assert {value for value, out in zip(hashes, mask.tolist(), strict=True) if out} == {b"a", b"A"}
    assert mask.sum() == 5


def test_no_fraction_holds_out_nothing():
    images = made()
    assert not held_out(images.labels, content_hashes(images), 0).any()
