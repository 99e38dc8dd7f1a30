import contextlib
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from snugnet import files
from snugnet.errors import StorageError


def names(folder):
    return [path.name for path in folder.iterdir()]


def failing(number):
    def call(*_):
        raise OSError(number, os.strerror(number))

    return call


def test_written_whole_and_its_size_is_stat(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    assert files.write_bytes(path, b"12345") == 5 == path.stat().st_size
    assert path.read_bytes() == b"12345"
    assert files.write_text(path, "é\n") == 3
    assert files.write_json(path, {"a": 1}) == path.stat().st_size
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, r"No space left on device\): the disk is full; free some space, then repeat the command$"),
        (errno.EDQUOT, r"quota exceeded\): the disk quota is used up; free some space, then repeat the command$"),
        (errno.EROFS, r"Read-only file system\): the file system is read-only; choose another folder, then repeat"),
        (errno.EIO, r"Input/output error\): the disk reports an error; check it, then repeat the command$"),
        (errno.ESTALE, r"Stale file handle\): check the folder and the disk, then repeat the command$"),
    ],
)
def test_a_disk_that_fails(tmp_path, monkeypatch, number, words):
    files.write_text(tmp_path / "kept", "old")
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(StorageError, match=rf"^{tmp_path}/kept: cannot be written \(.*{words}"):
        files.write_text(tmp_path / "kept", "new")
    assert (tmp_path / "kept").read_text() == "old"
    assert names(tmp_path) == ["kept"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path, monkeypatch, error):
    def interrupted(*_):
        raise error

    files.write_text(tmp_path / "kept", "old")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(error):
        files.write_text(tmp_path / "kept", "new")
    assert (tmp_path / "kept").read_text() == "old"
    assert names(tmp_path) == ["kept"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "y" / "x"):
        with pytest.raises(StorageError, match=r"x: cannot be written \("):
            files.write_text(path, "")
        with pytest.raises(StorageError, match=r"x: cannot be written \("):
            files.append_line(path, "")


FULL = """
import resource, signal, sys
from pathlib import Path
from snugnet import files
from snugnet.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for write in (lambda path: files.write_bytes(path, bytes(1001)), lambda path: files.append_line(path, "x" * 1001)):
    try:
        write(Path(sys.argv[1]))
    except StorageError as error:
        print(error)
files.write_bytes(Path(sys.argv[1]), bytes(1000))
"""


def test_a_file_that_finds_no_room(tmp_path):
    """A real limit of the system, not a mock: the bytes before the limit were written, and are gone again."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "kept")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    remedy = "the file is larger than this system allows; free the limit or choose another folder"
    assert (
        done.stdout == 2 * f"{tmp_path}/kept: cannot be written (File too large): {remedy}, then repeat the command\n"
    )
    assert names(tmp_path) == ["kept"]
    assert (tmp_path / "kept").stat().st_size == 1000


def test_lines_are_added_and_synced(tmp_path, monkeypatch):
    path = tmp_path / "new" / "lines"
    files.append_line(path, "one")
    files.append_line(path, "zwö")
    assert path.read_text() == "one\nzwö\n"
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(StorageError, match=r"lines: cannot be written \(No space left on device\): the disk is full"):
        files.append_line(path, "three")


def test_a_folder_without_permission():
    error = PermissionError(errno.EACCES, "Permission denied")
    words = "p: cannot be written (Permission denied): no permission to write here; choose another folder, then repeat"
    assert str(files.storage_error(Path("p"), error)) == f"{words} the command"


def test_the_file_is_readable_as_the_umask_allows(tmp_path):
    files.write_text(tmp_path / "file", "")
    (tmp_path / "plain").write_text("")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_line_that_cannot_be_added_whole_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    files.append_line(path, "one")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(StorageError, match="the disk reports an error"):
        files.append_line(path, "two")
    assert path.read_text() == "one\n"


def test_a_disk_that_takes_a_few_bytes_at_a_time(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:3]))
    files.write_bytes(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    monkeypatch.setattr(os, "write", lambda *_: 0)
    with pytest.raises(StorageError, match="the disk is full"):
        files.write_bytes(tmp_path / "file", b"new")


@pytest.mark.parametrize(("number", "told"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_file_system_without_durable_names(tmp_path, monkeypatch, number, told):
    sync = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="the disk reports an error") if told else contextlib.nullcontext():
        files.write_bytes(tmp_path / "file", b"x")
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_lock_is_one_processs(tmp_path):
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open("w") as two:
        assert files.lock(one.fileno(), wait=False)
        assert not files.lock(two.fileno(), wait=False)
