from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import CLASSES, TinyCifar

from snugnet.data import sources
from snugnet.data.cifar import OFFICIAL_DIGESTS, Cifar
from snugnet.data.config import DataConfig, Normalization
from snugnet.data.images import Images, content_hashes, digest
from snugnet.data.splits import Splits, open_splits, open_test
from snugnet.errors import DataError, RecipeError

# Looked for at import, before the fixtures hide it.
PLACES = [Path(root, "cifar-10-batches-py").resolve() for root in (os.environ.get("SNUG_DATA", "data"), "data")]
REAL_CIFAR10 = next((place for place in PLACES if place.is_dir()), None)


def opened(path: Path, **settings: object) -> Splits:
    return open_splits(DataConfig(name=str(path), **settings))


def same(one: Images, two: Images) -> bool:
    return torch.equal(one.pixels, two.pixels) and torch.equal(one.labels, two.labels)


def refused(path: Path, words: str, error: type[Exception] = DataError, **settings: object) -> None:
    with pytest.raises(error, match=words):
        opened(path, **settings)


def test_every_layout_of_the_same_images_gives_the_same_splits(tiny: TinyCifar):
    paths = [tiny.write_python(), tiny.write_binary(), tiny.write_folder()]
    first, *others = [opened(path) for path in paths]
    for other in others:
        assert same(first.train, other.train)
        assert same(first.val, other.val)
        assert first.normalization == other.normalization
        assert first.info.classes == other.info.classes
    tests = [open_test(DataConfig(name=str(path))) for path in paths]
    assert same(tests[0], tests[1])
    assert same(tests[0], tests[2])


def test_shuffled_files_give_the_same_splits(tmp_path: Path):
    one = opened(TinyCifar(tmp_path / "one").write_python())
    two = opened(TinyCifar(tmp_path / "two").shuffled(seed=1).write_python())
    assert same(one.train, two.train)
    assert same(one.val, two.val)


def test_val_is_a_fraction_of_each_class_and_nothing_is_lost(tiny: TinyCifar):
    path = tiny.write_python()
    splits = opened(path, val_fraction=0.25)
    assert splits.val.labels.bincount().tolist() == [5] * 10
    assert splits.train.labels.bincount().tolist() == [15] * 10
    together = {*content_hashes(splits.train), *content_hashes(splits.val)}
    assert together == set(content_hashes(sources.read(DataConfig(name=str(path)), "train")))


def test_each_split_is_sorted_by_content(tiny: TinyCifar):
    path = tiny.write_python()
    splits, test = opened(path), open_test(DataConfig(name=str(path)))
    for images in (splits.train, splits.val, test):
        assert content_hashes(images) == sorted(content_hashes(images))


def test_names_stay_with_their_images(tiny: TinyCifar):
    splits = opened(tiny.write_folder())
    for image, label, name in zip(splits.val.pixels, splits.val.labels, splits.val.names, strict=True):
        _, class_name, file = name.split("/")
        row = tiny.train[0][int(file.removesuffix(".png"))]
        assert np.array_equal(image.flatten(), row)
        assert class_name == CLASSES[label]


def test_no_val_fraction_leaves_val_empty(tiny: TinyCifar):
    splits = opened(tiny.write_python(), val_fraction=0.0)
    assert (len(splits.train), len(splits.val)) == (200, 0)
    assert splits.val.pixels.shape == (0, 3, 32, 32)


def test_training_on_all_leaves_val_empty(tiny: TinyCifar, pets: Path, picture):
    splits = opened(tiny.write_python(), train_on="all")
    assert (len(splits.train), splits.val.pixels.shape) == (200, (0, 3, 32, 32))
    picture(pets / "val" / "cat" / "a.png", seed=5000)
    assert len(opened(pets, train_on="all").train) == 21


def test_a_val_split_of_its_own_is_taken_whole(pets: Path, picture):
    for k, name in enumerate(("cat", "dog")):
        picture(pets / "valid" / name / "a.png", seed=5000 + k)
    splits = opened(pets, val_fraction=0.5)
    assert (len(splits.train), len(splits.val)) == (20, 2)


def test_a_class_missing_from_a_val_split_of_its_own(pets: Path, picture):
    picture(pets / "val" / "cat" / "a.png")
    refused(
        pets,
        "pets: class 'dog': its val split has none of it: add some, or remove the val split to have one made$",
    )


def test_a_class_with_too_few_images_for_val(pets: Path):
    refused(
        pets,
        r"pets: class 'cat', 'dog': too few images for data.val_fraction = 0.04: add images, or raise it$",
        val_fraction=0.04,
    )


def test_a_class_of_one_image_repeated_cannot_be_split(pets: Path, picture):
    for path in (pets / "train" / "cat").iterdir():
        picture(path, seed=3)
    words = r"pets: class 'cat': no image of it is left to train on: add images, or lower data.val_fraction$"
    refused(pets, words)


def test_opening_the_splits_reads_nothing_of_test(tiny: TinyCifar):
    path = tiny.write_python()
    (path / "test_batch").unlink()
    assert len(opened(path).train) == 180
    with pytest.raises(DataError, match=r"test_batch: is missing"):
        open_test(DataConfig(name=str(path)))


def test_no_test_split_is_an_empty_one(pets: Path):
    for path in (pets / "test").rglob("*.png"):
        path.unlink()
    for folder in (pets / "test" / "cat", pets / "test" / "dog", pets / "test"):
        assert open_test(DataConfig(name=str(pets))).pixels.shape == (0, 3, 8, 8)
        folder.rmdir()
    assert open_test(DataConfig(name=str(pets))).pixels.shape == (0, 3, 8, 8)


def test_normalization_is_of_the_training_images(tiny: TinyCifar):
    splits = opened(tiny.write_python())
    pixels = splits.train.pixels.double() / 255
    for measured, exact in (
        (splits.normalization.mean, pixels.mean((0, 2, 3))),
        (splits.normalization.std, pixels.std((0, 2, 3), correction=0)),
    ):
        assert measured == pytest.approx(exact.tolist(), abs=5.1e-7)
        assert measured == tuple(round(value, 6) for value in measured)


def test_a_normalization_of_the_recipe_is_taken(tiny: TinyCifar):
    given = Normalization(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert opened(tiny.write_python(), normalize=given).normalization == given


@pytest.mark.parametrize(("field", "mean", "std"), [("mean", 1, 3), ("std", 3, 1)])
def test_a_normalization_has_a_number_a_channel(tiny: TinyCifar, field: str, mean: int, std: int):
    given = Normalization(mean=(0.5,) * mean, std=(0.25,) * std)
    words = rf"^data.normalize.{field}: must have a number a channel; cifar10 has 3, got 1$"
    refused(tiny.write_python(), words, RecipeError, normalize=given)


def test_a_channel_of_one_value_cannot_be_normalised(tiny: TinyCifar):
    tiny.train[0][:, 1024:2048] = 7
    words = (
        "^cifar10: channel 1 has one value in all training images and cannot be normalised: "
        "check the images, or set data.normalize$"
    )
    refused(tiny.write_python(), words)


def test_a_class_without_images(tiny: TinyCifar):
    tiny.train[1][tiny.train[1] == 9] = 8
    folder = tiny.write_python()
    refused(folder, r"^cifar10: class 'truck': no image of it to train on: add some$", train_on="all")
    refused(folder, r"^cifar10: class 'truck': too few images for data.val_fraction = 0.1: add images, or raise it$")


def test_digits_split_three_ways():
    splits, test = opened(Path("digits")), open_test(DataConfig(name="digits"))
    hashes = [set(content_hashes(images)) for images in (splits.train, splits.val, test)]
    assert sum(map(len, hashes)) == len(set.union(*hashes))
    assert len(splits.train) + len(splits.val) + len(test) == 1797
    assert len(splits.normalization.mean) == 1


@pytest.mark.skipif(REAL_CIFAR10 is None, reason="CIFAR-10 is neither in $SNUG_DATA nor in ./data")
def test_the_real_cifar10():
    config = DataConfig(name=str(REAL_CIFAR10))
    splits = open_splits(config)
    assert splits.info.classes == CLASSES
    assert (splits.train.labels.bincount().tolist(), splits.val.labels.bincount().tolist()) == ([4500] * 10, [500] * 10)
    assert splits.normalization.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=2e-4)  # as papers print them
    source = sources.resolve(str(REAL_CIFAR10))
    assert isinstance(source, Cifar)
    for (_, split), (count, official) in OFFICIAL_DIGESTS.items():
        images = source.read(split)
        assert (len(images), digest(images)) == (count, official)
