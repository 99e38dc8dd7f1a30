from __future__ import annotations

from pathlib import Path

import pytest

from snugnet.data.folder import list_folder
from snugnet.data.images import DataInfo
from snugnet.data.listing import ImageFiles
from snugnet.errors import DataError


def source(root: Path, image_size: int | None = None) -> ImageFiles:
    return ImageFiles(list_folder(root), image_size)


def refused(root: Path, words: str) -> None:
    with pytest.raises(DataError, match=words):
        source(root).describe()
    with pytest.raises(DataError, match=words):
        source(root).read("train")


def notes(root: Path) -> list[str]:
    return [str(problem).replace(f"{root}/", "") for problem in list_folder(root).problems]


def test_classes_are_the_folders_and_the_size_is_that_of_the_images(pets: Path):
    assert source(pets).describe() == DataInfo(str(pets), ("cat", "dog"), 3, 8)
    assert source(pets, 4).describe().image_size == 4


def test_images_labels_and_names(pets: Path):
    train = source(pets).read("train")
    assert train.pixels.shape == (20, 3, 8, 8)
    assert train.labels.tolist() == [0] * 10 + [1] * 10
    assert train.names[11] == "train/dog/1.png"
    assert len(source(pets).read("test")) == 4
    assert source(pets).read("val") is None


def test_a_class_missing_from_test_does_not_shift_the_labels(pets: Path):
    for path in (pets / "test" / "cat").iterdir():
        path.unlink()
    (pets / "test" / "cat").rmdir()
    assert source(pets).read("test").labels.tolist() == [1, 1]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_has_three_names_and_is_never_test(pets: Path, picture, name: str):
    picture(pets / name / "dog" / "a.png")
    assert source(pets).read("val").labels.tolist() == [1]
    assert len(source(pets).read("test")) == 4


def test_two_val_splits_are_refused(pets: Path):
    for name in ("val", "valid"):
        (pets / name).mkdir()
    refused(pets, r"pets: has val and valid, and one val split is meant: join them$")


def test_what_is_no_class_is_skipped_and_said(pets: Path, picture):
    for name in (".ipynb_checkpoints", "__MACOSX", ".git"):
        picture(pets / "train" / name / "a.png")
    (pets / "train" / "run-1" / "plots").mkdir(parents=True)
    (pets / "train" / "run-1" / "summary.json").touch()
    (pets / "train" / "notes.txt").touch()
    assert source(pets).describe().classes == ("cat", "dog")
    assert notes(pets) == [
        "train/.git: a hidden folder was skipped: remove it if it is not needed",
        "train/.ipynb_checkpoints: a hidden folder was skipped: remove it if it is not needed",
        "train/__MACOSX: a hidden folder was skipped: remove it if it is not needed",
        "train/notes.txt: a file outside the class folders was skipped: remove it if it is not needed",
        "train/run-1: a run directory was skipped: remove it if it is not needed",
    ]


def test_what_is_no_image_is_skipped_and_said(pets: Path, picture):
    picture(pets / "train" / "cat" / "more" / "a.png")
    (pets / "train" / "cat" / "a.txt").touch()
    (pets / "train" / "cat" / "b.png").symlink_to("nowhere")
    for hidden in ("._0.png", ".DS_Store", "Thumbs.db"):
        (pets / "train" / "cat" / hidden).touch()
    assert len(source(pets).read("train")) == 20
    assert notes(pets) == [
        "train/cat/a.txt: a file whose ending is no image's was skipped: move, rename or remove it",
        "train/cat/b.png: a broken link was skipped: move, rename or remove it",
        "train/cat/more: a folder inside a class was skipped: move, rename or remove it",
    ]


def test_an_empty_class(pets: Path):
    (pets / "train" / "bird").mkdir()
    refused(pets, r"pets: class 'bird' has no image in train: add images, or remove the class everywhere$")


@pytest.mark.parametrize("split", ["test", "valid"])
def test_a_class_that_is_not_in_train(pets: Path, picture, split: str):
    picture(pets / split / "bird" / "a.png")
    name = {"valid": "val"}.get(split, split)
    words = f"pets: class 'bird' is in {name} and not in train: add images of it to train, or remove it from {name}$"
    refused(pets, words)


def test_one_class_is_not_enough(tmp_path: Path, picture):
    picture(tmp_path / "train" / "cat" / "a.png")
    refused(tmp_path, r": has the one class 'cat', and at least two are needed: add a class$")


def test_a_folder_without_train(tmp_path: Path, picture):
    picture(tmp_path / "cats" / "a.png")
    words = (
        r": must hold train/<class>/\*.png or the like, and holds cache, cats: "
        r"move the images into train/<class> and test/<class>$"
    )
    (tmp_path / "cache").mkdir()
    refused(tmp_path, words)


def test_a_train_folder_without_classes(tmp_path: Path):
    (tmp_path / "train").mkdir()
    refused(tmp_path, r": train has no classes: move its images into train/<class>$")


def test_a_folder_that_cannot_be_read(pets: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    refused(pets, r"pets/train: cannot be read \(Permission denied\): check the folder and its permissions$")


def test_all_problems_are_said_at_once_up_to_ten(pets: Path):
    for k in range(12):
        (pets / "train" / f"class {k:02}").mkdir()
    with pytest.raises(DataError, match=r"and 2 problems more; `snug data check` lists them all$") as caught:
        source(pets).describe()
    assert len(str(caught.value).splitlines()) == 11


def test_images_that_differ_in_size_need_image_size(pets: Path, picture):
    picture(pets / "train" / "dog" / "3.png", size=(9, 9))
    words = (
        r"pets: images differ in size \(the first is 8×8, 3.png is 9×9\): "
        r"set data.image_size to the side they shall be resized to$"
    )
    with pytest.raises(DataError, match=words):
        source(pets).read("train")
    assert source(pets, 8).read("train").pixels.shape == (20, 3, 8, 8)


def test_images_that_are_not_square_need_image_size(pets: Path, picture):
    picture(pets / "train" / "cat" / "0.png", size=(9, 8))
    words = r"pets: images are not square \(0.png is 9×8\): set data.image_size to the side they shall be resized to$"
    with pytest.raises(DataError, match=words):
        source(pets).describe()
    assert source(pets, 8).describe().image_size == 8


def test_describe_reads_no_pixel(pets: Path):
    for path in pets.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    assert source(pets).describe().image_size == 8


def test_a_corrupt_image_is_named(pets: Path):
    (pets / "train" / "dog" / "7.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"train/dog/7.png: cannot be read as an image .* `snug data check PATH`"):
        source(pets).read("train")
