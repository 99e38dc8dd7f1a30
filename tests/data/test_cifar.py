from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import CLASSES, TinyCifar, dump

from snugnet.data.cifar import LAYOUTS, Cifar, layout_of
from snugnet.errors import DataError

PYTHON, BINARY, PYTHON_100, BINARY_100 = LAYOUTS
ARCHIVE = ": unpack the official archive again$"


def test_python_and_binary_version_hold_the_same(tiny: TinyCifar):
    python, binary = Cifar(tiny.write_python(), PYTHON), Cifar(tiny.write_binary(), BINARY)
    assert python.describe() == binary.describe()
    assert python.describe().classes == CLASSES
    for split in ("train", "test"):
        one, two = python.read(split), binary.read(split)
        assert torch.equal(one.pixels, two.pixels)
        assert torch.equal(one.labels, two.labels)
    assert one.pixels.shape == (20, 3, 32, 32)
    assert one.names[3] == "test_batch_3.png"
    assert two.names is None


def test_there_is_no_val_split(tiny: TinyCifar):
    assert Cifar(tiny.write_python(), PYTHON).read("val") is None


def test_cifar100_takes_the_fine_labels(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (100, 3072), np.uint8)
    fine, coarse = np.arange(100), np.arange(100) // 5
    names = [f"class {k}" for k in range(100)]
    for folder in ("py", "bin"):
        (tmp_path / folder).mkdir()
    batch = {b"data": pixels, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
    dump(tmp_path / "py" / "meta", {b"fine_label_names": [name.encode() for name in names]})
    dump(tmp_path / "py" / "test", batch)
    (tmp_path / "bin" / "fine_label_names.txt").write_text("\n".join(names))
    np.c_[coarse, fine, pixels].astype(np.uint8).tofile(tmp_path / "bin" / "test.bin")
    for layout, folder in ((PYTHON_100, tmp_path / "py"), (BINARY_100, tmp_path / "bin")):
        assert layout_of(folder) is layout
        assert Cifar(folder, layout).describe().classes == tuple(names)
        images = Cifar(folder, layout).read("test")
        assert images.labels.tolist() == fine.tolist()
        assert torch.equal(images.pixels.flatten(1), torch.from_numpy(pixels))


def test_the_layout_is_known_by_its_meta_file(tiny: TinyCifar, tmp_path: Path):
    assert layout_of(tiny.write_python()) is PYTHON
    assert layout_of(tiny.write_binary()) is BINARY
    assert layout_of(tmp_path) is None


def test_a_folder_of_images_with_a_file_called_meta_is_no_cifar(pets: Path):
    (pets / "meta").touch()
    assert layout_of(pets) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({b"labels": [0] * 39 + [10]}, r"data_batch_2: labels must be 0 to 9; found 10"),
        ({b"labels": [0] * 39 + [-1]}, r"data_batch_2: labels must be 0 to 9; found -1"),
        ({b"labels": [0] * 39}, r"data_batch_2: holds 40 images, 39 labels and 40 file names"),
        ({b"labels": [0] * 39 + [b"x"]}, r"data_batch_2: labels must be a list of whole numbers"),
        ({b"filenames": [b"x"]}, r"data_batch_2: holds 40 images, 40 labels and 1 file names"),
        ({b"filenames": 3}, r"data_batch_2: names must be a list of texts"),
        ({b"data": 3}, r"data_batch_2: data must be uint8 of shape \(images, 3072\); it is a int"),
        (
            {b"data": np.zeros((40, 3071), np.uint8)},
            r"data_batch_2: data must be uint8 of shape \(images, 3072\); it is uint8 of shape \(40, 3071\)",
        ),
    ],
)
def test_tampered_batches_are_refused(tiny: TinyCifar, change: dict[bytes, object], words: str):
    folder = tiny.write_python()
    pixels, labels = tiny.batches()["data_batch_2"]
    batch = {b"data": pixels, b"labels": labels.tolist(), b"filenames": [b"x"] * 40}
    dump(folder / "data_batch_2", batch | change)
    with pytest.raises(DataError, match=words + ARCHIVE):
        Cifar(folder, PYTHON).read("train")


def test_a_batch_without_labels(tiny: TinyCifar):
    folder = tiny.write_python()
    dump(folder / "data_batch_2", {b"data": 1})
    with pytest.raises(DataError, match=r"data_batch_2: has no 'labels'" + ARCHIVE):
        Cifar(folder, PYTHON).read("train")


def test_a_batch_is_as_long_as_the_meta_file_says(tiny: TinyCifar):
    folder = tiny.write_python()
    meta = {b"label_names": [name.encode() for name in CLASSES], b"num_cases_per_batch": 40}
    dump(folder / "batches.meta", meta)
    assert len(Cifar(folder, PYTHON).read("train")) == 200
    dump(folder / "batches.meta", meta | {b"num_cases_per_batch": 41})
    with pytest.raises(DataError, match=r"data_batch_1: holds 40 images and 41 are announced" + ARCHIVE):
        Cifar(folder, PYTHON).read("train")


def test_a_truncated_batch(tiny: TinyCifar):
    folder = tiny.write_python()
    whole = (folder / "data_batch_4").read_bytes()
    (folder / "data_batch_4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"data_batch_4: is damaged or no data pickle: .*: get the file again$"):
        Cifar(folder, PYTHON).read("train")


def test_a_truncated_binary_batch(tiny: TinyCifar):
    folder = tiny.write_binary()
    whole = (folder / "data_batch_4.bin").read_bytes()
    (folder / "data_batch_4.bin").write_bytes(whole[:-1])
    words = r"data_batch_4.bin: is 122,919 B, and whole images of 3,073 B are expected" + ARCHIVE
    with pytest.raises(DataError, match=words):
        Cifar(folder, BINARY).read("train")


def test_an_empty_binary_batch(tiny: TinyCifar):
    folder = tiny.write_binary()
    (folder / "test_batch.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"test_batch.bin: holds no images" + ARCHIVE):
        Cifar(folder, BINARY).read("test")


def test_a_binary_batch_that_cannot_be_read(tiny: TinyCifar, monkeypatch: pytest.MonkeyPatch):
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "memmap", denied)
    with pytest.raises(DataError, match=r"test_batch.bin: cannot be read \(Permission denied\)" + ARCHIVE):
        Cifar(tiny.write_binary(), BINARY).read("test")


def test_a_missing_batch(tiny: TinyCifar):
    folder = tiny.write_python()
    (folder / "data_batch_3").unlink()
    words = r"data_batch_3: is missing: unpack the official archive again, or point SNUG_DATA at a complete copy$"
    with pytest.raises(DataError, match=words):
        Cifar(folder, PYTHON).read("train")


def test_classes_must_be_ten_different_names(tiny: TinyCifar):
    folder = tiny.write_binary()
    (folder / "batches.meta.txt").write_text("\n".join(["cat", *CLASSES[1:]]))
    with pytest.raises(DataError, match=r"meta.txt: must name 10 different classes; it names 9" + ARCHIVE):
        Cifar(folder, BINARY).describe()


def test_class_names_that_are_no_text(tiny: TinyCifar):
    folder = tiny.write_binary()
    (folder / "batches.meta.txt").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(DataError, match=r"meta.txt: is no text" + ARCHIVE):
        Cifar(folder, BINARY).describe()
