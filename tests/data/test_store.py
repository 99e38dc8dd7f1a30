from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from snugnet.data import decode, listing, sources, store
from snugnet.data.config import DataConfig
from snugnet.data.images import Images, content_hashes, digest
from snugnet.data.mapped import Mapped, parts
from snugnet.data.splits import open_splits, open_test
from snugnet.data.store import Contents
from snugnet.errors import DataError, RecipeError, StorageError

COUNT = 50


def images(count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 4, 4), np.uint8)


def contents(count: int = COUNT) -> Contents:
    return Contents((3, 4, 4), [n % 3 for n in range(count)], [f"{n}.png" for n in range(count)], ("a", "b", "c"))


def written(folder: Path) -> Images:
    store.write(folder, contents(), images())
    found = store.opened(folder)
    assert found is not None
    return found


def everything(pixels: Mapped) -> torch.Tensor:
    return torch.cat(list(pixels.split(7)))


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def in_memory(found: Images) -> Images:
    return Images(everything(found.pixels), found.labels, found.names)


@pytest.mark.parametrize("bucket_bytes", [2**26, 500])
def test_what_is_stored_is_sorted_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket_bytes: int):
    monkeypatch.setattr(store, "BUCKET_BYTES", bucket_bytes)
    found = written(tmp_path / "set")
    given = Images(torch.from_numpy(images()), torch.tensor(contents().labels), tuple(contents().names))
    hashes = content_hashes(given)
    order = sorted(range(COUNT), key=hashes.__getitem__)
    assert torch.equal(everything(found.pixels), given.pixels[order])
    assert found.labels.tolist() == [order[n] % 3 for n in range(COUNT)]
    assert found.names == tuple(f"{n}.png" for n in order)
    assert content_hashes(found) == content_hashes(in_memory(found)) == sorted(hashes)
    assert digest(found) == digest(given)
    assert leftovers(tmp_path / "set") == ["hashes.raw", "header.json", "labels.raw", "names.json", "pixels.raw"]


def test_a_set_in_files_is_used_like_a_tensor(tmp_path: Path):
    found = written(tmp_path / "set").pixels
    whole = everything(found)
    assert found.shape == whole.shape == (COUNT, 3, 4, 4)
    some = torch.tensor([7, 7, 0, 49])
    assert torch.equal(found[some], whole[some])
    assert torch.equal(found[[3, 1]], whole[[3, 1]])
    assert torch.equal(everything(found.select(some)), whole[some])
    assert torch.equal(found.select(some)[[2]], whole[[0]])
    twice = found.select(some).joined(found)
    assert torch.equal(everything(twice), torch.cat([whole[some], whole]))
    assert torch.equal(torch.cat(list(parts(twice))), everything(twice))
    assert len(found.select(torch.empty(0, dtype=torch.int64))) == 0


def test_nothing_is_written_through_what_was_read(tmp_path: Path):
    found = written(tmp_path / "set").pixels
    before = everything(found)
    found[[0, 1]].zero_()
    assert torch.equal(everything(found), before)
    assert not found.files[0].flags.writeable


@pytest.mark.parametrize("name", ["header.json", "pixels.raw", "hashes.raw", "labels.raw", "names.json"])
def test_a_store_that_is_not_whole_is_none(tmp_path: Path, name: str):
    written(tmp_path / "set")
    file = tmp_path / "set" / name
    file.write_bytes(file.read_bytes()[:-8])
    assert store.opened(tmp_path / "set") is None
    file.unlink()
    assert store.opened(tmp_path / "set") is None


def test_a_failed_or_stopped_writing_leaves_nothing(tmp_path: Path):
    def broken(error: BaseException):
        yield from images()[:30]
        raise error

    for error in (DataError("a.png: broken"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            store.write(tmp_path / "sets" / "set", contents(), broken(error))
        assert leftovers(tmp_path / "sets") == []


def test_a_disk_that_fills_up_is_one_error(tmp_path: Path):
    def filling():
        yield from images()[:30]
        raise OSError(28, "No space left on device")

    words = r"set: cannot be written \(No space left on device\): the disk is full; free some space, then repeat the"
    with pytest.raises(StorageError, match=words):
        store.write(tmp_path / "sets" / "set", contents(), filling())
    assert leftovers(tmp_path / "sets") == []


def test_a_disk_too_small_is_told_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)
    need = 2 * COUNT * 48
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need - 1))
    words = (
        r"set: the decoded images take 4.8 kB, and 4.8 kB are free: "
        r"free some space, or set SNUG_CACHE to a folder on another disk$"
    )
    with pytest.raises(StorageError, match=words):
        store.write(tmp_path / "set", contents(), iter(()))
    assert leftovers(tmp_path) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need))
    written(tmp_path / "set")


def test_what_a_killed_writing_left_is_removed(tmp_path: Path):
    (tmp_path / ".set.123.part").mkdir()
    (tmp_path / ".set.123.part" / "bucket-000").write_bytes(b"half")
    store.made(tmp_path / "set", contents(), lambda: iter(images()))
    assert leftovers(tmp_path) == [".lock", "set"]


def opened(pets: Path, memory: str, **more: object):
    config = DataConfig(name=str(pets), memory=memory, **more)
    return open_splits(config), open_test(config)


def same(one: Images, two: Images) -> bool:
    return (
        isinstance(two.pixels, Mapped)
        and torch.equal(one.pixels, everything(two.pixels))
        and torch.equal(one.labels, two.labels)
        and one.names == two.names
    )


@pytest.mark.parametrize("more", [{}, {"image_size": 4}, {"val_fraction": 0.3}, {"train_on": "all"}])
@pytest.mark.parametrize("own_val", [False, True])
def test_splits_in_files_are_those_in_memory(pets: Path, picture, own_val: bool, more: dict[str, object]):
    for k, name in enumerate(("cat", "dog") if own_val else ()):
        picture(pets / "val" / name / "a.png", seed=5000 + k)
    (kept, test), (mapped, mapped_test) = opened(pets, "ram", **more), opened(pets, "map", **more)
    assert same(kept.train, mapped.train)
    assert same(test, mapped_test)
    assert len(kept.val) == len(mapped.val)
    assert not len(kept.val) or same(kept.val, mapped.val)
    assert kept.normalization == mapped.normalization


def test_an_empty_val_split_adds_nothing(pets: Path):
    (pets / "val" / "cat").mkdir(parents=True)
    (kept, _), (mapped, _) = (opened(pets, memory, train_on="all") for memory in ("ram", "map"))
    assert same(kept.train, mapped.train)


def test_a_csv_without_a_test_split(pets: Path):
    lines = [f"{path.relative_to(pets)},{path.parent.name}" for path in sorted(pets.rglob("*.png"))]
    (pets / "a.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    (kept, test), (mapped, mapped_test) = (opened(pets / "a.csv", memory) for memory in ("ram", "map"))
    assert same(kept.train, mapped.train)
    assert same(test, mapped_test)


def stores(tmp_path: Path) -> list[Path]:
    return sorted(path.parent for path in (tmp_path / "cache").rglob("header.json"))


def test_a_folder_is_decoded_once_and_anew_when_it_changes(
    pets: Path, tmp_path: Path, picture, monkeypatch: pytest.MonkeyPatch
):
    config = DataConfig(name=str(pets), memory="map")
    first = open_splits(config)
    (old,) = stores(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(decode, "open_rgb", None)
        assert digest(open_splits(config).train) == digest(first.train)
    picture(pets / "train" / "cat" / "3.png", seed=77)
    os.utime(pets / "train" / "cat" / "3.png", ns=(1, 1))
    assert digest(open_splits(config).train) != digest(first.train)
    (new,) = stores(tmp_path)
    assert new != old
    assert not old.exists()


def test_the_binary_version_of_cifar_is_mapped_as_it_lies(tiny, tmp_path: Path):
    path = tiny.write_binary()
    (kept, test), (mapped, mapped_test) = opened(path, "ram"), opened(path, "map")
    assert same(kept.train, mapped.train)
    assert same(kept.val, mapped.val)
    assert same(test, mapped_test)
    assert all(isinstance(file.base, np.ndarray) for file in mapped.train.pixels.files)
    assert not (tmp_path / "cache").exists()


def test_what_cannot_be_mapped_says_so(tiny):
    for name in ("digits", str(tiny.write_python())):
        words = (
            r"^data.memory: 'map' is for a folder of images, a CSV or the binary version of CIFAR; "
            rf"{name} is read into memory: remove the key$"
        )
        with pytest.raises(RecipeError, match=words):
            opened(Path(name), "map")


def test_auto_is_memory_while_the_set_takes_at_most_half_of_it(pets: Path, monkeypatch: pytest.MonkeyPatch):
    size = 24 * 3 * 8 * 8  # train and test
    for free, place in ((2 * size, "ram"), (2 * size - 1, "map")):
        monkeypatch.setattr(listing, "available_bytes", lambda device, free=free: free)
        config = DataConfig(name=str(pets))
        assert sources.decided(config).memory == place
        assert isinstance(open_splits(config).train.pixels, Mapped) == (place == "map")
    assert sources.decided(DataConfig(name="digits")).memory == "ram"
    assert sources.decided(DataConfig(name=str(pets), memory="ram")).memory == "ram"
