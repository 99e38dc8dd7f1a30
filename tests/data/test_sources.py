from __future__ import annotations

from pathlib import Path

import pytest
from tiny_data import CLASSES, TinyCifar

from snugnet.data import sources
from snugnet.data.config import DataConfig
from snugnet.data.images import DataInfo
from snugnet.data.sources import NAMED, describe, locate, read
from snugnet.errors import DataError, RecipeError, StorageError

CIFAR10 = ("cifar10", CLASSES, 3, 32)


def test_named_data_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    places = [tmp_path / "cache", tmp_path / "data", tmp_path / "chosen"]
    monkeypatch.setenv("SNUG_DATA", str(tmp_path / "chosen"))
    (tmp_path / "chosen").mkdir()
    for place in places:
        folder = TinyCifar(place).write_python()
        assert locate("cifar10").resolve() == folder


def test_the_python_version_comes_before_the_binary_one(tmp_path: Path):
    binary = TinyCifar(tmp_path / "data").write_binary()
    assert locate("cifar10").resolve() == binary
    python = TinyCifar(tmp_path / "data").write_python()
    assert locate("cifar10").resolve() == python


def test_snug_data_may_be_the_folder_itself(tiny: TinyCifar, monkeypatch: pytest.MonkeyPatch):
    folder = tiny.write_python()
    monkeypatch.setenv("SNUG_DATA", str(folder))
    assert locate("cifar10") == folder
    with pytest.raises(StorageError, match=r"^cifar100: SNUG_OFFLINE=1 forbids downloads: set SNUG_DATA"):
        locate("cifar100")


def test_what_is_nowhere_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "fetch", lambda name, _: TinyCifar(tmp_path / f"downloaded {name}").write_python())
    assert describe(DataConfig(name="cifar10")) == DataInfo(*CIFAR10)
    assert locate("cifar100").parent == tmp_path / "downloaded cifar100"


def test_snug_data_must_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNUG_DATA", str(tmp_path / "gone"))
    words = r"^SNUG_DATA is '.*gone', which is no folder: set it to the one that holds the data, or unset it$"
    with pytest.raises(DataError, match=words):
        locate("cifar10")


def test_every_kind_of_data_is_found_by_its_path(tiny: TinyCifar, pets: Path):
    (pets / "a.csv").write_text("path,label\ntrain/cat/0.png,cat\ntrain/dog/0.png,dog\n")
    for path in (tiny.write_python(), tiny.write_binary()):
        assert describe(DataConfig(name=str(path))) == DataInfo(*CIFAR10)
    assert describe(DataConfig(name=str(pets))) == DataInfo(str(pets), ("cat", "dog"), 3, 8)
    assert describe(DataConfig(name=str(pets / "a.csv"), image_size=16)).image_size == 16
    assert describe(DataConfig(name="digits")).channels == 1


def test_describing_cifar_needs_its_meta_file_alone(tiny: TinyCifar):
    folder = tiny.write_python()
    for path in folder.glob("*_batch*"):
        path.unlink()
    assert describe(DataConfig(name=str(folder))) == DataInfo(*CIFAR10)


def test_read_gives_a_split_or_none(pets: Path):
    assert len(read(DataConfig(name=str(pets)), "test")) == 4
    assert read(DataConfig(name=str(pets)), "val") is None


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("cifar1O", "did you mean 'cifar10'?"),
        ("digit", "did you mean 'digits'?"),
        ("./nowhere", f"give a path, or one of {', '.join(NAMED)}"),
    ],
)
def test_an_unknown_name(name: str, remedy: str):
    with pytest.raises(DataError) as caught:
        describe(DataConfig(name=name))
    assert str(caught.value) == f"{name}: is neither a known data set nor a path: {remedy}"


def test_a_file_that_is_no_csv(tmp_path: Path):
    (tmp_path / "a.zip").touch()
    words = r"a.zip: is a file, and only a CSV of path,label is a data set: give a .csv or a folder$"
    with pytest.raises(DataError, match=words):
        describe(DataConfig(name=str(tmp_path / "a.zip")))


def test_an_image_size_that_the_data_cannot_have():
    assert describe(DataConfig(name="digits", image_size=8)).image_size == 8
    words = (
        "^data.image_size: images of digits are 8×8, and only those of a folder or a CSV are resized; "
        "got 16: remove it$"
    )
    for ask in (describe, lambda config: read(config, "train")):
        with pytest.raises(RecipeError, match=words):
            ask(DataConfig(name="digits", image_size=16))
