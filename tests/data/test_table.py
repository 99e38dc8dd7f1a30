from __future__ import annotations

from pathlib import Path

import pytest

from snugnet.data.listing import ImageFiles
from snugnet.data.table import list_table
from snugnet.errors import DataError


@pytest.fixture
def table(pets: Path) -> Path:
    """All 20 training images of the pets, without a split."""
    rows = [f"{path.relative_to(pets)},{path.parent.name}" for path in sorted((pets / "train").rglob("*.png"))]
    return write(pets / "pets.csv", "path,label", *rows)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def source(path: Path) -> ImageFiles:
    return ImageFiles(list_table(path), None)


def refused(path: Path, words: str) -> None:
    with pytest.raises(DataError, match=words):
        source(path).describe()


def test_without_a_split_column_a_fifth_of_each_class_is_test(table: Path):
    train, test = source(table).read("train"), source(table).read("test")
    assert source(table).read("val") is None
    assert (train.labels.bincount().tolist(), test.labels.bincount().tolist()) == ([8, 8], [2, 2])
    assert not set(train.names) & set(test.names)
    assert source(table).describe().classes == ("cat", "dog")


def test_the_test_split_does_not_depend_on_the_order_of_the_lines(table: Path):
    expected = sorted(source(table).read("test").names)
    header, *rows = table.read_text().splitlines()
    write(table, header, *reversed(rows))
    assert sorted(source(table).read("test").names) == expected


def test_a_split_column_is_followed(pets: Path):
    lines = [
        "train/cat/0.png,cat,train",
        "train/dog/0.png,dog,train",
        "train/dog/1.png,dog,val",
        "test/cat/0.png,cat,test",
    ]
    path = write(pets / "a.csv", "path,label,split", *lines)
    names = {split: source(path).read(split).names for split in ("train", "val", "test")}
    assert names == {
        "train": ("train/cat/0.png", "train/dog/0.png"),
        "val": ("train/dog/1.png",),
        "test": ("test/cat/0.png",),
    }


def test_columns_in_another_order_and_a_byte_order_mark(pets: Path):
    path = pets / "a.csv"
    path.write_text("\ufefflabel,path\ncat,train/cat/0.png\ndog,train/dog/0.png\n", encoding="utf-8")
    assert source(path).describe().classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("header", "seen"), [("id,label", "id,label"), ("path,label,width", "path,label,width"), ("", "nothing")]
)
def test_the_header_is_required(pets: Path, header: str, seen: str):
    path = pets / "a.csv"
    path.write_text(header)
    refused(path, f"a.csv: the first line must be path,label or path,label,split; it is {seen}: write that header$")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train/cat/99.png,cat,train", "'train/cat/99.png' is no file"),
        ("train/cat/0.png, ,train", "has no label"),
        ("train/cat/0.png,cat,valid", "split must be train, val or test; it is 'valid'"),
        ("train/cat/0.png,cat", "has not as many values as the header"),
        ("train/cat/0.png,cat,train,9", "has not as many values as the header"),
    ],
)
def test_a_wrong_line_is_named(pets: Path, line: str, words: str):
    path = write(pets / "a.csv", "path,label,split", "train/cat/1.png,cat,train", line, "train/dog/1.png,dog,train")
    refused(path, f"a.csv:3: {words}: correct the line or remove it$")


def test_all_wrong_lines_are_said_at_once(pets: Path):
    path = write(pets / "a.csv", "path,label", "x.png,cat", "y.png,dog")
    with pytest.raises(DataError) as caught:
        source(path).describe()
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "'x.png' is no file",
        "'y.png' is no file",
        "lists no image to train on",
    ]


def test_a_class_that_is_not_in_train(pets: Path):
    lines = ["train/cat/0.png,cat,train", "train/cat/1.png,kitten,train", "test/dog/0.png,dog,test"]
    refused(
        write(pets / "a.csv", "path,label,split", *lines), r"class 'dog' is in test and not in train: add images of it"
    )


def test_a_csv_that_is_no_text(pets: Path):
    (pets / "a.csv").write_bytes(b"\xff\xfe\x00")
    refused(pets / "a.csv", r"a.csv: is no readable CSV \(.*\): save it as UTF-8 CSV$")
