"""Readers of others' files, fed with files that are none: a result or one clear error, in bounded time, and nothing
outside the file's folder is touched. `python tests/fuzz/guided.py` searches further, guided by coverage."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hostile import ATTACKS, READERS, Evil, LawBrokenError, Reader, huge_png, outcome, picture, watched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutated
from PIL import Image

from snugnet.errors import SnugError

pytestmark = pytest.mark.usefixtures("elsewhere")
FAST = 60  # inputs a reader, of those that `make test-slow` has
LAWS = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}


@st.composite
def inputs(draw: st.DrawFn, reader: Reader) -> bytes:
    base = draw(st.sampled_from([*reader.sound, *ATTACKS] if draw(st.integers(0, 9)) == 0 else list(reader.sound)))
    return mutated(Random(draw(st.integers(0, 2**32))), base, reader.words)


def fed(reader: Reader, folder: Path, examples: int) -> set[str]:
    """The outcomes of so many inputs."""
    found: set[str] = set()

    @settings(max_examples=examples, **LAWS)
    @given(inputs(reader))
    def each(data: bytes) -> None:
        found.add(outcome(reader, data, folder))

    each()
    return found


@pytest.mark.parametrize("name", READERS)
def test_sound_inputs_are_read(name: str, tmp_path: Path):
    reader = READERS[name]
    found = [outcome(reader, data, tmp_path) for data in reader.sound]
    assert "result" in found or name == "image folder"  # whose one image is too few


@pytest.mark.parametrize("name", READERS)
def test_planted_attacks_are_answered(name: str, tmp_path: Path):
    found = [outcome(READERS[name], data, tmp_path) for data in ATTACKS]
    assert name in ("quantity", "multipart") or set(found) - {"result"}


@pytest.mark.parametrize("name", READERS)
def test_bent_inputs_are_answered(name: str, tmp_path: Path):
    assert fed(READERS[name], tmp_path, min(FAST, READERS[name].examples))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_bent_inputs_are_answered(name: str, tmp_path: Path):
    assert fed(READERS[name], tmp_path, READERS[name].examples)


def test_there_are_ten_thousand_of_them():
    assert sum(reader.examples for reader in READERS.values()) >= 10_000 or "onnx" not in READERS


# the law itself: what it must notice


def breaking(read: object, *errors: type[Exception]) -> Reader:
    return Reader("x", "x", read, (), errors=errors or (SnugError,))


def test_a_reader_that_unpickles_is_found(tmp_path: Path):
    import os
    import pickle

    reader = breaking(lambda path: pickle.loads(path.read_bytes()), SnugError)
    with pytest.raises(LawBrokenError, match=r"what it must not: pickle.find_class"):
        outcome(reader, pickle.dumps(Evil(), 2), tmp_path)
    with pytest.raises(LawBrokenError, match=r"what it must not: os.system"):
        outcome(breaking(lambda _: os.system("true")), b"", tmp_path)


def test_a_reader_that_writes_elsewhere_is_found(tmp_path: Path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    with watched(inside):
        (inside / "a").write_text("")
    with pytest.raises(LawBrokenError, match=r"out was opened for writing"), watched(inside):
        outside.write_text("")


def test_an_error_that_is_not_ours_or_too_long_is_found(tmp_path: Path):
    def fails(_: Path) -> None:
        raise SnugError("x" * 4001)

    with pytest.raises(LawBrokenError, match=r"4,001 characters of message"):
        outcome(breaking(fails), b"", tmp_path)
    with pytest.raises(IndexError):
        outcome(breaking(lambda _: [][1]), b"", tmp_path)


# images of every kind


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("CMYK", "JPEG"), ("I;16", "PNG"), ("P", "GIF"), ("LA", "PNG"), ("1", "PNG"), ("RGBA", "WEBP"), ("L", "TIFF")],
)
def test_images_of_every_kind_are_rgb(mode: str, kind: str, tmp_path: Path):
    from snugnet.data.decode import open_rgb

    (tmp_path / "wrong.bmp").write_bytes(picture(mode, kind))
    image = open_rgb(tmp_path / "wrong.bmp")
    assert (image.mode, image.size) == ("RGB", (9, 6))


def test_a_picture_that_promises_more_pixels_than_memory_has_is_refused_unread(tmp_path: Path):
    from snugnet.data.decode import open_rgb
    from snugnet.errors import DataError

    (tmp_path / "a.png").write_bytes(huge_png())
    with pytest.raises(DataError, match=r"cannot be read as an image \("):
        open_rgb(tmp_path / "a.png")


def test_postscript_under_another_name_starts_no_program(tmp_path: Path):
    """Pillow hands it to Ghostscript."""
    from snugnet.data.decode import header_size, open_rgb
    from snugnet.errors import DataError

    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.eps").read_bytes())
    for read in (open_rgb, header_size):
        with pytest.raises(DataError, match=r"it is no image that Pillow knows"), watched(tmp_path):
            read(tmp_path / "a.png")
