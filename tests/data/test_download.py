from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path

import pytest
from tiny_data import TinyCifar

from snugnet.data import download
from snugnet.data.download import Archive, fetch
from snugnet.errors import StorageError

BY_HAND = ": set SNUG_DATA to the folder that holds cifar-10-batches-py, or put cifar-10-batches-py under ./data$"


@pytest.fixture
def archive(tiny: TinyCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small CIFAR-10 behind a file:// address, as the official one is behind https://."""
    monkeypatch.delenv("SNUG_OFFLINE")
    path = tmp_path / "cifar.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tiny.write_python(), "cifar-10-batches-py")
    offer(path, monkeypatch)
    return path


def offer(path: Path, monkeypatch: pytest.MonkeyPatch, md5: str | None = None) -> None:
    made = Archive(path.as_uri(), md5 or hashlib.md5(path.read_bytes()).hexdigest(), "cifar-10-batches-py")
    monkeypatch.setitem(download.ARCHIVES, "cifar10", made)


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


@pytest.mark.usefixtures("archive")
def test_the_archive_is_unpacked_into_the_cache(tmp_path: Path, tiny: TinyCifar):
    folder = fetch("cifar10")
    assert folder == tmp_path / "cache" / "cifar-10-batches-py"
    for path in (tiny.root / "cifar-10-batches-py").iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert left_in(tmp_path / "cache") == ["cifar-10-batches-py"]


def test_progress_is_reported_in_bytes(archive: Path):
    seen = []
    fetch("cifar10", lambda received, total: seen.append((received, total)))
    assert seen[-1] == (archive.stat().st_size, archive.stat().st_size)


@pytest.mark.usefixtures("archive")
def test_an_incomplete_folder_is_replaced(tmp_path: Path):
    (tmp_path / "cache" / "cifar-10-batches-py" / "piece").mkdir(parents=True)
    assert not (fetch("cifar10") / "piece").exists()
    assert left_in(tmp_path / "cache") == ["cifar-10-batches-py"]


def test_another_md5_is_refused(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    offer(archive, monkeypatch, md5="0" * 32)
    with pytest.raises(
        StorageError, match=r"^cifar10: file://.* must have the MD5 0{32}; received was \w{32}" + BY_HAND
    ):
        fetch("cifar10")
    assert left_in(tmp_path / "cache") == []


def test_an_address_that_cannot_be_reached(archive: Path, tmp_path: Path):
    archive.unlink()
    with pytest.raises(StorageError, match=r"^cifar10: file://.* cannot be reached: .*" + BY_HAND):
        fetch("cifar10")
    assert left_in(tmp_path / "cache") == []


@pytest.mark.usefixtures("archive")
def test_a_download_that_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Broken(io.BytesIO):
        headers: dict[str, str] = {}  # noqa: RUF012

        def read(self, *_: object) -> bytes:
            raise TimeoutError("timed out")

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Broken())
    with pytest.raises(StorageError, match=r"^cifar10: the download of file://.* broke off: timed out" + BY_HAND):
        fetch("cifar10")
    assert left_in(tmp_path / "cache") == []


def test_a_file_that_is_no_archive(archive: Path, monkeypatch: pytest.MonkeyPatch):
    archive.write_bytes(b"no archive")
    offer(archive, monkeypatch)
    with pytest.raises(StorageError, match=r"^cifar10: file://.* cannot be unpacked: .*" + BY_HAND):
        fetch("cifar10")


def test_an_archive_that_writes_outside_its_folder(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../outside"), io.BytesIO())
    offer(archive, monkeypatch)
    with pytest.raises(StorageError, match=r"cannot be unpacked: .*outside"):
        fetch("cifar10")
    assert not (tmp_path / "outside").exists()


@pytest.mark.usefixtures("archive")
def test_offline_downloads_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNUG_OFFLINE", "1")
    with pytest.raises(StorageError, match=r"^cifar10: SNUG_OFFLINE=1 forbids downloads" + BY_HAND):
        fetch("cifar10")


def test_a_cache_that_cannot_be_written(archive: Path, tmp_path: Path):  # noqa: ARG001
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"cifar-10-batches-py: cannot be written"):
        fetch("cifar10")


def test_the_official_addresses():
    for name, archive in download.ARCHIVES.items():
        assert archive.url.startswith("https://www.cs.toronto.edu/~kriz/cifar-10"), name
        assert len(archive.md5) == 32
