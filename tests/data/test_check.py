from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tiny_data import CLASSES, TinyCifar

from snugnet.data import check as check_module
from snugnet.data.check import CheckReport, check
from snugnet.errors import DataError


def lines(report: CheckReport) -> list[str]:
    return [f"{problem.severity}: {problem}".replace(report.name, "X") for problem in report.problems]


def test_a_sound_folder_has_no_problems(pets: Path):
    report = check(str(pets))
    assert report == CheckReport(
        str(pets), ("cat", "dog"), {"train": {"cat": 10, "dog": 10}, "test": {"cat": 2, "dog": 2}}, {"8×8": 24}, []
    )
    assert report.ok


def test_everything_wrong_with_a_folder_is_told_at_once(pets: Path, picture):
    picture(pets / "train" / ".ipynb_checkpoints" / "a.png")
    (pets / "train" / "bird").mkdir()
    (pets / "train" / "dog" / "0.png").write_bytes(b"broken")
    (pets / "train" / "dog" / "1.png").write_bytes(b"broken")
    picture(pets / "train" / "dog" / "2.png", seed=99, size=(9, 9))
    Image.open(pets / "train" / "dog" / "3.png").convert("L").save(pets / "train" / "dog" / "30.jpg", "PNG")
    report = check(str(pets))
    broken = "cannot be read as an image (it is no image that Pillow knows): replace or remove it; "
    assert lines(report) == [
        "note: X/train/.ipynb_checkpoints: a hidden folder was skipped: remove it if it is not needed",
        "error: X: class 'bird' has no image in train: add images, or remove the class everywhere",
        f"error: X/train/dog/0.png: {broken}`snug data check PATH` lists all such files",
        f"error: X/train/dog/1.png: {broken}`snug data check PATH` lists all such files",
        "note: X/train/dog/30.jpg: is a PNG file, which its ending does not say: rename it; it is read all the same",
        "warning: X: images differ in size: 2 sizes, most often 8×8 and 9×9: "
        "set data.image_size to the side they shall be resized to",
        "warning: X: train has 10 images of 'cat' and 0 of 'bird': add images, or read scores by class",
        "warning: X: test has 2 images of 'cat' and 0 of 'bird': add images, or read scores by class",
    ]
    assert not report.ok
    assert report.images["train"] == {"bird": 0, "cat": 10, "dog": 9}
    assert report.sizes == {"8×8": 22, "9×9": 1}


def test_a_jpeg_of_a_phone_has_the_right_ending(pets: Path):
    image = Image.open(pets / "train" / "dog" / "3.png")
    image.save(pets / "train" / "dog" / "3.jpg", "MPO", save_all=True, append_images=[image])
    assert check(str(pets)).problems == []


def test_copies_are_counted_by_their_pixels(pets: Path, picture):
    for copy in ("train/cat/copy.bmp", "train/dog/copy.png", "test/cat/copy.png"):
        picture(pets / copy, seed=3)  # as train/cat/3.png
    assert lines(check(str(pets))) == [
        "warning: X: holds 1 image more than once in train (train/cat/3.png = train/cat/copy.bmp): remove the copies",
        "warning: X: holds 1 image in both train and test (train/dog/copy.png = test/cat/copy.png): "
        "remove them from train",
        "warning: X: holds 1 image under more than one class (test/cat/copy.png = train/dog/copy.png): "
        "keep the right one",
    ]
    picture(pets / "test/dog/copy.png", seed=104)
    assert "holds 2 images in both train and test" in check(str(pets)).problems[1].message


def test_imbalance_is_told_beyond_ten_to_one(pets: Path):
    for k in range(1, 10):
        (pets / "train" / "dog" / f"{k}.png").unlink()
    assert check(str(pets)).problems == []
    Image.new("RGB", (8, 8)).save(pets / "train" / "cat" / "one_more.png")
    assert lines(check(str(pets))) == [
        "warning: X: train has 11 images of 'cat' and 1 of 'dog': add images, or read scores by class"
    ]


def test_val_is_never_taken_for_test(pets: Path):
    (pets / "test").rename(pets / "val")
    report = check(str(pets))
    assert list(report.images) == ["train", "val"]
    assert lines(report) == ["warning: X: has no test images: add a test split; val is never taken for it"]


def test_a_table_without_a_split_column(pets: Path):
    (pets / "a.csv").write_text("path,label\ntrain/cat/0.png,cat\ntrain/dog/0.png,dog\ngone.png,dog\n")
    assert lines(check(str(pets / "a.csv"))) == [
        "error: X:4: 'gone.png' is no file: correct the line or remove it",
        "note: X: has no split column: 20% of each class will be held out for testing: "
        "add the column to choose them yourself",
    ]


def test_cifar(tiny: TinyCifar):
    report = check(str(tiny.write_python()))
    assert report.images == {"train": dict.fromkeys(CLASSES, 20), "test": dict.fromkeys(CLASSES, 2)}
    assert (report.sizes, report.problems) == ({"32×32": 220}, [])


def test_cifar_with_damaged_batches(tiny: TinyCifar):
    folder = tiny.write_python()
    (folder / "data_batch_2").write_bytes(b"")
    (folder / "test_batch").unlink()
    report = check(str(folder))
    assert lines(report) == [
        "error: X/data_batch_2: is damaged or no data pickle: it ends too early: get the file again",
        "error: X/test_batch: is missing: unpack the official archive again, or point SNUG_DATA at a complete copy",
        "warning: X: has no test images: add a test split; val is never taken for it",
    ]
    assert report.images == {}


def test_cifar_without_class_names(tiny: TinyCifar):
    folder = tiny.write_python()
    (folder / "batches.meta").write_bytes(b"")
    report = check(str(folder))
    assert lines(report)[0].startswith("error: X/batches.meta: is damaged")
    assert report.classes == ()


def test_a_full_size_set_of_other_pixels(tiny: TinyCifar, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(check_module, "OFFICIAL_DIGESTS", {("cifar10", "test"): (20, "0" * 32)})
    assert [f"{problem.severity}: {problem}" for problem in check(str(tiny.write_python())).problems] == [
        "warning: cifar10: the 20 images of test are not the official pixels and labels: "
        "unpack the official archive again, or do not compare with published numbers"
    ]
    monkeypatch.setattr(check_module, "OFFICIAL_DIGESTS", {("cifar10", "test"): (21, "0" * 32)})
    assert check(str(tiny.root / "cifar-10-batches-py")).problems == []


def test_what_is_not_there_is_an_error():
    with pytest.raises(DataError, match=r"^nowhere: is neither a known data set nor a path"):
        check("nowhere")
