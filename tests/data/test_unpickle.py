from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny_data import dump

from snugnet.data import unpickle
from snugnet.errors import DataError

ARRAY = np.arange(6, dtype=np.uint8).reshape(2, 3)
PYTHON_2 = (  # {'data': ARRAY, 'labels': [1, 2], 'name': 'a\xe9'} as Python 2 and its numpy wrote it
    b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02K\x03\x86"
    b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x06\x00\x00\x00"
    b"\x00\x01\x02\x03\x04\x05tbU\x06labels](K\x01K\x02eU\x04nameU\x02a\xe9u."
)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["uint8", "int64", ">i4", "bool"])
def test_what_numpy_writes_is_read(tmp_path: Path, protocol: int, dtype: str):
    array = ARRAY.astype(dtype)
    dump(tmp_path / "p", {b"data": array, "ids": [1, -2, 300], "transposed": array.T}, protocol)
    value = unpickle.read(tmp_path / "p")
    assert (value["data"] == array).all()
    assert (value["transposed"] == array.T).all()
    assert value["ids"] == [1, -2, 300]


def test_what_python_2_wrote_is_read(tmp_path: Path):
    (tmp_path / "p").write_bytes(PYTHON_2)
    value = unpickle.read(tmp_path / "p")
    assert value["data"].tolist() == ARRAY.tolist()
    assert (value["labels"], value["name"]) == ([1, 2], b"a\xe9")


class Evil:
    def __init__(self, function: object, *values: object) -> None:
        self.call = (function, values)

    def __reduce__(self) -> object:
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, np.load, getattr])
def test_a_pickle_that_runs_code_runs_nothing(tmp_path: Path, function: object):
    dump(tmp_path / "p", {b"data": Evil(function, f"touch {tmp_path}/ran")})
    words = r"p: wants to run code \(\w+\.\w+\) and was not loaded: use the file from the official archive$"
    with pytest.raises(DataError, match=words):
        unpickle.read(tmp_path / "p")
    assert not (tmp_path / "ran").exists()


def test_the_refused_name_is_said_without_its_control_characters(tmp_path: Path):
    (tmp_path / "p").write_bytes(b"\x80\x02cevil\x1b[2J\nname\n.")
    with pytest.raises(DataError, match=r"\(evil\\x1b\[2J\.name\)"):
        unpickle.read(tmp_path / "p")


@pytest.mark.parametrize("name", [b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n"])
def test_the_names_it_may_use_cannot_be_changed_by_the_file(tmp_path: Path, name: bytes):
    (tmp_path / "forged").write_bytes(b"\x80\x02" + name + b"N}U\x04makeK\x01s\x86b.")
    with pytest.raises(DataError, match=r"is damaged"):
        unpickle.read(tmp_path / "forged")
    (tmp_path / "p").write_bytes(PYTHON_2)
    assert unpickle.read(tmp_path / "p")["data"].tolist() == ARRAY.tolist()


def test_a_file_cut_anywhere_is_damaged(tmp_path: Path):
    for cut in range(len(PYTHON_2)):
        (tmp_path / "p").write_bytes(PYTHON_2[:cut])
        with pytest.raises(DataError, match=r"p: is damaged or no data pickle: it ends too early: get the file again$"):
            unpickle.read(tmp_path / "p")


def test_no_bytes_raise_anything_but_data_errors(tmp_path: Path):
    random = np.random.default_rng(0)
    for _ in range(500):
        forged = bytearray(PYTHON_2)
        for place in random.integers(0, len(forged), 3):
            forged[place] = random.integers(256)
        (tmp_path / "p").write_bytes(forged)
        with contextlib.suppress(DataError):
            unpickle.read(tmp_path / "p")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"data": np.array([{}, []], object)}, "it holds an array of type 'O8', and only whole numbers are read"),
        ({"data": np.zeros(3)}, "it holds an array of type 'f8', and only whole numbers are read"),
        ([1, 2], "it holds a list where a dict is expected"),
        ({1: 2}, "it holds a int where a name is expected"),
    ],
)
def test_other_contents_are_named(tmp_path: Path, value: object, words: str):
    dump(tmp_path / "p", value)
    with pytest.raises(DataError, match=words):
        unpickle.read(tmp_path / "p")


def test_a_shape_that_does_not_fit_its_data(tmp_path: Path):
    (tmp_path / "p").write_bytes(PYTHON_2.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86"))
    with pytest.raises(DataError, match=r"an array in it holds 6 numbers for the shape \(2, 4\)"):
        unpickle.read(tmp_path / "p")


def test_an_array_of_something_else_than_bytes(tmp_path: Path):
    (tmp_path / "p").write_bytes(PYTHON_2.replace(b"T\x06\x00\x00\x00\x00\x01\x02\x03\x04\x05", b"]"))
    with pytest.raises(DataError, match=r"an array in it has no plain data"):
        unpickle.read(tmp_path / "p")


def test_a_shape_of_something_else_than_numbers(tmp_path: Path):
    (tmp_path / "p").write_bytes(PYTHON_2.replace(b"K\x02K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x85\x86"))
    with pytest.raises(DataError, match=r"an array in it has no plain shape"):
        unpickle.read(tmp_path / "p")


def test_a_forged_memo_index_takes_no_memory(tmp_path: Path):
    (tmp_path / "p").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    assert unpickle.read(tmp_path / "p") == {}


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "p").write_bytes(PYTHON_2)
    monkeypatch.setattr(unpickle, "LARGEST_BYTES", len(PYTHON_2) - 1)
    with pytest.raises(DataError, match=r"p: is \d+ B, and no data set's pickle is over 1 GiB: it was not loaded$"):
        unpickle.read(tmp_path / "p")
    monkeypatch.setattr(unpickle, "LARGEST_BYTES", len(PYTHON_2))
    assert unpickle.read(tmp_path / "p")


def test_a_missing_file(tmp_path: Path):
    words = r"p: cannot be read: No such file or directory: check the file and its permissions$"
    with pytest.raises(DataError, match=words):
        unpickle.read(tmp_path / "p")
