import pytest
import torch

from snugnet.data.augment import Crop, Flip
from snugnet.data.config import Normalization
from snugnet.data.images import Images
from snugnet.data.loader import EvalLoader, Normalize, TrainLoader, derived_seed

CPU = torch.device("cpu")
CONSTANTS = Normalization(mean=(0.5, 0.25, 0.1), std=(0.25, 0.5, 0.3))


def images(count):
    """The label is the image's number, and its first pixel tells it."""
    pixels = torch.randint(0, 256, (count, 3, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels[:, 0] = torch.arange(count, dtype=torch.uint8)[:, None, None]
    return Images(pixels, torch.arange(count), None)


def loader(count=23, batch_size=5, augment=(), seed=0):
    return TrainLoader(
        images(count), CONSTANTS, classes=count, batch_size=batch_size, augment=augment, seed=seed, device=CPU
    )


def order(of, epoch):
    return [label for _, labels in of.epoch(epoch) for label in labels.tolist()]


def test_each_epoch_is_another_permutation():
    train = loader()
    epochs = [order(train, epoch) for epoch in range(4)]
    assert all(sorted(found) == list(range(23)) for found in epochs)
    assert len(set(map(tuple, epochs))) == 4
    assert order(loader(), 2) == epochs[2]
    assert order(loader(seed=1), 2) != epochs[2]


def test_pixels_go_with_their_labels():
    for floats, labels in loader().epoch(0):
        numbers = (floats[:, 0, 0, 0] * 0.25 + 0.5) * 255
        assert torch.equal(numbers.round().long(), labels)


@pytest.mark.parametrize(("count", "sizes"), [(20, [5] * 4), (21, [5] * 4), (22, [5, 5, 5, 5, 2]), (3, [3]), (1, [])])
def test_a_last_batch_of_one_is_left_out(count, sizes):
    train = loader(count)
    assert [len(labels) for _, labels in train.epoch(0)] == sizes
    assert train.steps == len(sizes)
    assert [train.seen(step) for step in range(1, train.steps + 1)] == [
        sum(sizes[:n]) for n in range(1, len(sizes) + 1)
    ]


@pytest.mark.parametrize("together", [1, 2, 3, 100])
def test_an_epoch_entered_anywhere_goes_on_bitwise(monkeypatch, together):
    monkeypatch.setattr("snugnet.data.loader.MADE_AT_ONCE", together * 5 * 6 * 6)
    augment = [Crop(op="crop", padding=2), Flip(op="flip")]
    whole = list(loader(augment=augment).epoch(3))
    for start in range(len(whole) + 1):
        for (one, label), (other, same) in zip(loader(augment=augment).epoch(3, start), whole[start:], strict=True):
            assert torch.equal(one, other)
            assert torch.equal(label, same)
    assert [label for _, labels in whole for label in labels.tolist()] == order(loader(), 3)
    others = list(loader(augment=augment).epoch(4))
    assert not torch.equal(others[0][0], whole[0][0])


def test_small_batches_are_made_together(monkeypatch):
    """What is drawn for four images costs as much as for a hundred."""
    monkeypatch.setattr("snugnet.data.loader.MADE_AT_ONCE", 10 * 6 * 6)
    asked = []
    monkeypatch.setattr(Flip, "apply", lambda flip, images, draw: (asked.append(len(images)), images)[1])
    assert len(list(loader(augment=[Flip(op="flip")]).epoch(0))) == 5
    assert asked == [10, 10, 3]


def test_draws_belong_to_the_step(monkeypatch):
    monkeypatch.setattr("snugnet.data.loader.MADE_AT_ONCE", 1)
    flat = Images(images(1).pixels.expand(64, -1, -1, -1), torch.zeros(64, dtype=torch.int64), None)
    train = TrainLoader(flat, CONSTANTS, classes=10, batch_size=32, augment=[Flip(op="flip")], seed=0, device=CPU)
    (first, _), (second, _) = train.epoch(0)
    assert not torch.equal(first, second)


def test_samples_are_the_first_batch_before_normalisation():
    train = loader(augment=[Crop(op="crop", padding=2)])
    pixels, labels = train.samples()
    floats, same = next(train.epoch(0))
    assert pixels.dtype == torch.uint8
    assert torch.equal(labels, same)
    assert torch.equal(Normalize(CONSTANTS, CPU)(pixels), floats)


def test_normalisation_is_that_of_every_byte():
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    floats = Normalize(CONSTANTS, CPU)(every)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (CONSTANTS.mean, CONSTANTS.std))
    torch.testing.assert_close(floats.double(), (every.double() / 255 - mean) / std, rtol=0, atol=1e-6)
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert every[0, 0, 0, 1] == 1  # the bytes themselves are left alone


def test_judging_sees_every_image_in_order():
    val = EvalLoader(images(11), CONSTANTS, batch_size=4, device=CPU)
    batches = list(val)
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert torch.equal(torch.cat(batches), Normalize(CONSTANTS, CPU)(images(11).pixels))
    assert torch.equal(val.labels, torch.arange(11))


def test_seeds_of_other_paths_are_others():
    seeds = {
        derived_seed(seed, epoch, step) for seed in range(5) for epoch in range(5) for step in (*range(5), "order")
    }
    assert len(seeds) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(0, "init") == derived_seed(0, "init")
