from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from snugnet.data import feed
from snugnet.data.augment import Crop, Flip
from snugnet.data.config import Normalization
from snugnet.data.copies import NO_COPIES, Copies
from snugnet.data.images import Images
from snugnet.data.loader import EvalLoader, TrainLoader
from snugnet.data.mapped import Mapped

CPU = torch.device("cpu")
CONSTANTS = Normalization(mean=(0.0,), std=(1.0,))
COUNT, BLOCK, WINDOW = 103, 5, 20


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "BLOCK_BYTES", BLOCK * 16)
    monkeypatch.setattr(feed, "WINDOW_BYTES", WINDOW * 16)


def images(count: int = COUNT) -> Images:
    """In two files and in no order; an image's number is its label and its first pixel."""
    numbers = np.random.default_rng(0).permutation(count)
    pixels = np.repeat(np.argsort(numbers).astype(np.uint8), 16).reshape(-1, 1, 4, 4)
    mapped = Mapped.of([pixels[:40], pixels[40:]]).select(torch.from_numpy(numbers))
    return Images(mapped, torch.arange(count), None)


def loader(seed: int = 0, batch_size: int = 8, copies: Copies = NO_COPIES, augment=()) -> TrainLoader:
    return TrainLoader(
        images(), CONSTANTS, classes=COUNT, batch_size=batch_size, augment=augment, seed=seed, device=CPU, copies=copies
    )


def order(of: TrainLoader, epoch: int) -> list[int]:
    return [label for _, labels in of.epoch(epoch) for label in labels.tolist()]


def test_every_image_once_an_epoch_in_an_order_of_seed_and_epoch_alone():
    epochs = [order(loader(), epoch) for epoch in range(4)]
    assert all(sorted(found) == list(range(COUNT)) for found in epochs)
    assert len({tuple(found) for found in epochs}) == 4
    assert order(loader(), 2) == epochs[2]
    assert order(loader(batch_size=20), 2) == epochs[2]
    assert order(loader(seed=1), 2) != epochs[2]


def test_a_window_is_whole_blocks_of_neighbours_shuffled():
    places = images().pixels.places
    found = [int(places[label]) for label in order(loader(), 0)]
    for start in range(0, COUNT - WINDOW, WINDOW):
        window = found[start : start + WINDOW]
        blocks = {place // BLOCK for place in window}
        assert len(blocks) in (WINDOW // BLOCK, WINDOW // BLOCK + 1)  # one block is short, and may fall anywhere
        assert window != sorted(window)
    assert len({place // BLOCK for place in found[:WINDOW]} - set(range(WINDOW // BLOCK))) > 0


@pytest.mark.parametrize("batch_size", [8, 20, 64, 103])
def test_pixels_go_with_their_labels(batch_size: int):
    for floats, labels in loader(batch_size=batch_size).epoch(1):
        assert torch.equal((floats[:, 0, 0, 0] * 255).round().long(), labels)


def test_an_epoch_entered_anywhere_goes_on_bitwise_and_reads_nothing_before_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("snugnet.data.loader.MADE_AT_ONCE", 1)  # a batch at a time
    augment = [Crop(op="crop", padding=1), Flip(op="flip")]
    whole = list(loader(augment=augment).epoch(3))
    read: list[int] = []
    take = Mapped.__getitem__
    monkeypatch.setattr(Mapped, "__getitem__", lambda self, some: read.append(len(some)) or take(self, some))
    for start in range(len(whole) + 1):
        read.clear()
        rest = list(loader(augment=augment).epoch(3, start))
        assert sum(read) == COUNT - 8 * start or start == len(whole)
        assert len(rest) == len(whole) - start
        for (one, label), (other, same) in zip(rest, whole[start:], strict=True):
            assert torch.equal(one, other)
            assert torch.equal(label, same)


def test_copies_are_shown_too():
    train = loader(copies=Copies(torch.tensor([5, 5, 99])))
    assert sorted(order(train, 0)) == sorted([*range(COUNT), 5, 5, 99])


def test_judging_sees_every_image_in_order():
    val = EvalLoader(images(), CONSTANTS, batch_size=50, device=CPU)
    batches = list(val)
    assert [len(batch) for batch in batches] == [50, 50, 3]
    assert (torch.cat(batches)[:, 0, 0, 0] * 255).round().tolist() == list(range(COUNT))


def test_one_is_made_ahead_and_no_more():
    made, asked = [], threading.Event()

    def make(item: int) -> int:
        made.append(item)
        if len(made) == 2:
            asked.set()
        return item

    coming = feed.ahead(make, range(5))
    assert next(coming) == 0
    assert asked.wait(10)
    assert made == [0, 1]
    assert list(coming) == [1, 2, 3, 4]


def test_an_error_of_reading_is_raised_where_the_batch_is_asked_for():
    def make(item: int) -> int:
        if item == 1:
            raise OSError(5, "Input/output error")
        return item

    coming = feed.ahead(make, range(3))
    assert next(coming) == 0
    with pytest.raises(OSError, match="Input/output error"):
        next(coming)


@pytest.mark.parametrize("size", [1, 3, 4, 7, 30])
def test_rebatched_keeps_rows_and_order(size: int):
    tensors = [torch.arange(start, end) for start, end in ((0, 4), (4, 5), (5, 15), (15, 15), (15, 22))]
    batches = list(feed.rebatched(tensors, size))
    assert [len(batch) for batch in batches] == [len(part) for part in torch.arange(22).split(size)]
    assert torch.cat(batches).tolist() == list(range(22))
