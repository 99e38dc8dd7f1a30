from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from snugnet.data import decode
from snugnet.data.decode import header_size, open_rgb, read_pixels, square
from snugnet.errors import DataError, StorageError


def test_every_mode_becomes_rgb(tmp_path: Path):
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    for mode, suffix in [("L", "png"), ("LA", "png"), ("P", "gif"), ("1", "png"), ("CMYK", "tif"), ("RGBA", "png")]:
        path = tmp_path / f"{mode}.{suffix}"
        grey.convert("RGB").convert(mode).save(path)
        image = open_rgb(path)
        assert (image.mode, image.size) == ("RGB", (8, 8))
        if mode not in ("P", "1"):
            assert np.abs(np.asarray(image).astype(int) - np.asarray(grey)[..., None]).max() <= 1, mode


def test_what_is_transparent_becomes_white(tmp_path: Path):
    Image.new("RGBA", (2, 1), (9, 9, 9, 0)).save(tmp_path / "a.png")
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9])
    palette.save(tmp_path / "p.png", transparency=0)
    for name in ("a.png", "p.png"):
        assert open_rgb(tmp_path / name).getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_is_scaled_and_not_clipped(tmp_path: Path):
    values = np.array([[0, 257, 256 * 128, 65_535]], np.uint16)
    for suffix in ("png", "tif"):
        Image.fromarray(values).save(tmp_path / f"a.{suffix}")
        assert [pixel[0] for pixel in np.asarray(open_rgb(tmp_path / f"a.{suffix}"))[0]] == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((2, 2), np.float32), "its pixels are floating-point numbers; save it with 8 or 16 bits"),
        (np.full((2, 2), 65_536, np.int32), "its pixels have more than 16 bits; save it with 8 or 16 bits"),
    ],
)
def test_pixels_without_a_known_range_are_refused(tmp_path: Path, pixels: np.ndarray, words: str):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=words):
        open_rgb(tmp_path / "a.tif")


def test_exif_rotation_is_applied(tmp_path: Path):
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: the top left pixel goes to the top right
    image.save(tmp_path / "a.png", exif=exif)
    upright = open_rgb(tmp_path / "a.png")
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == (255, 255, 255)


def test_square_takes_the_centre_and_leaves_the_right_size_alone():
    wide = Image.new("RGB", (30, 10), "red")
    wide.paste("blue", (10, 0, 20, 10))
    assert np.unique(np.asarray(square(wide, 5))[:, 1:4].reshape(-1, 3), axis=0).tolist() == [[0, 0, 255]]
    assert square(wide.crop((0, 0, 10, 10)), 10).getpixel((9, 9)) == (255, 0, 0)


def test_resizing_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert 100 < np.asarray(square(Image.fromarray(stripes), 8)).mean() < 155


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_a_file_that_is_no_image(tmp_path: Path, content: bytes):
    (tmp_path / "a.png").write_bytes(content)
    words = (
        r"a.png: cannot be read as an image \(it is no image that Pillow knows\): replace or remove it; "
        r"`snug data check PATH` lists all such files$"
    )
    for read in (open_rgb, header_size):
        with pytest.raises(DataError, match=words):
            read(tmp_path / "a.png")


def test_a_truncated_image(tmp_path: Path, picture):
    whole = picture(tmp_path / "a.png", size=(50, 50)).read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a.png: cannot be read as an image \(.*truncated.*\): replace or remove it; "):
        open_rgb(tmp_path / "a.png")


def test_an_image_too_large_to_be_true(tmp_path: Path, picture, monkeypatch: pytest.MonkeyPatch):
    path = picture(tmp_path / "a.png", size=(20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    open_rgb(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 399)
    with pytest.raises(DataError, match=r"a.png: cannot be read as an image \(.*pixels.*\): replace"):
        open_rgb(path)


def files(tmp_path: Path, picture) -> list[Path]:
    return [picture(tmp_path / "data" / f"{i}.png", seed=i) for i in range(3)]


def cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.npy"))


def test_pixels_come_in_the_order_of_the_files(tmp_path: Path, picture):
    pixels = read_pixels(tmp_path / "data", "train", files(tmp_path, picture), 8, exact=True)
    assert (pixels.shape, pixels.dtype) == ((3, 3, 8, 8), torch.uint8)
    for image, path in zip(pixels, files(tmp_path, picture), strict=True):
        assert np.array_equal(image.permute(1, 2, 0), Image.open(path))


def test_the_cache_is_used_again_and_not_changed_through_the_tensor(tmp_path: Path, picture, monkeypatch):
    paths = files(tmp_path, picture)
    first = read_pixels(tmp_path / "data", "train", paths, 8, exact=True)
    expected = first.clone()
    first.zero_()
    monkeypatch.setattr(decode, "open_rgb", None)
    assert torch.equal(read_pixels(tmp_path / "data", "train", paths, 8, exact=True), expected)


def test_the_cache_is_made_anew_when_a_file_changes(tmp_path: Path, picture):
    paths = files(tmp_path, picture)
    before = read_pixels(tmp_path / "data", "train", paths, 8, exact=True).clone()
    (old,) = cached(tmp_path)
    picture(paths[1], seed=77)
    os.utime(paths[1], ns=(1, 1))
    after = read_pixels(tmp_path / "data", "train", paths, 8, exact=True)
    assert (before != after).flatten(1).any(1).tolist() == [False, True, False]
    assert len(cached(tmp_path)) == 1
    assert not old.exists()


def test_a_damaged_cache_is_made_anew(tmp_path: Path, picture):
    paths = files(tmp_path, picture)
    expected = read_pixels(tmp_path / "data", "train", paths, 8, exact=True).clone()
    (old,) = cached(tmp_path)
    old.write_bytes(old.read_bytes()[:-1])
    assert torch.equal(read_pixels(tmp_path / "data", "train", paths, 8, exact=True), expected)


def test_each_split_and_size_has_its_own_cache(tmp_path: Path, picture):
    paths = files(tmp_path, picture)
    for split, size in (("train", 8), ("test", 8), ("train", 4)):
        assert read_pixels(tmp_path / "data", split, paths, size, exact=False).shape[2:] == (size, size)
    assert len(cached(tmp_path)) == 3


def test_nothing_is_written_into_the_data(tmp_path: Path, picture):
    paths = files(tmp_path, picture)
    read_pixels(tmp_path / "data", "train", paths, 8, exact=True)
    assert sorted((tmp_path / "data").iterdir()) == paths


def test_a_cache_that_cannot_be_written(tmp_path: Path, picture):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"cannot be written \(Not a directory\)|cannot be written \(File exists\)"):
        read_pixels(tmp_path / "data", "train", files(tmp_path, picture), 8, exact=True)


def test_a_corrupt_image_leaves_no_cache(tmp_path: Path, picture):
    paths = files(tmp_path, picture)
    paths[2].write_bytes(b"broken")
    with pytest.raises(DataError, match=r"2.png: cannot be read as an image"):
        read_pixels(tmp_path / "data", "train", paths, 8, exact=True)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_no_files_are_no_pixels(tmp_path: Path):
    assert read_pixels(tmp_path, "test", [], 8, exact=True).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(("chunk_bytes", "ahead"), [(3 * 192, 3), (1, 1)])
def test_no_more_is_decoded_ahead_than_memory_is_given(
    tmp_path: Path, picture, monkeypatch, chunk_bytes: int, ahead: int
):
    paths = [picture(tmp_path / f"{i}.png", seed=i) for i in range(6)]
    asked: list[Path] = []
    monkeypatch.setattr(decode, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(decode, "open_rgb", lambda path: asked.append(path) or open_rgb(path))
    images = decode.decoded(tmp_path, paths, 8, exact=True)
    next(images)
    images.close()  # waits for those that were begun
    assert 1 <= len(asked) <= ahead
