"""A folder of train/<class>/*, test/<class>/* and perhaps val/<class>/* images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from snugnet.data.decode import is_image
from snugnet.data.images import Split
from snugnet.data.listing import Listing, class_problems
from snugnet.data.problems import Problem

SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
RUN_FILES = ("summary.json", "config.json")  # a run that was written beside the data is no class


def list_folder(root: Path) -> Listing:
    """What lies in `root`, and everything that is wrong with it; nothing is decoded."""
    try:
        return _listed(root)
    except OSError as error:
        message = f"cannot be read ({error.strerror})"
        remedy = "check the folder and its permissions"
        return Listing(root, {}, (Problem("error", str(error.filename or root), message, remedy),))


def _listed(root: Path) -> Listing:
    found = [(name, SPLIT_FOLDERS[name]) for name in SPLIT_FOLDERS if (root / name).is_dir()]
    problems = list(_split_problems(root, found))
    files = {split: _classes(root / name, problems) for name, split in found}
    if "train" in files and not files["train"]:
        remedy = "move its images into train/<class>"
        problems.append(Problem("error", str(root), "train has no classes", remedy))
    return Listing(root, files, (*problems, *class_problems(root, files)))


def _split_problems(root: Path, found: list[tuple[str, Split]]) -> Iterator[Problem]:
    names = [name for name, split in found if split == "val"]
    if len(names) > 1:
        yield Problem("error", str(root), f"has {' and '.join(names)}, and one val split is meant", "join them")
    if "train" not in (split for _, split in found):
        seen = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
        message = f"must hold train/<class>/*.png or the like, and holds {seen}"
        yield Problem("error", str(root), message, "move the images into train/<class> and test/<class>")


def _classes(folder: Path, problems: list[Problem]) -> dict[str, list[Path]]:
    classes = {}
    for path in sorted(folder.iterdir()):
        if reason := _skipped(path):
            problems.append(Problem("note", str(path), f"{reason} was skipped", "remove it if it is not needed"))
        else:
            classes[path.name] = _images(path, problems)
    return classes


def _skipped(path: Path) -> str | None:
    """Why `path` in a split's folder is no class; None if it is one."""
    if not path.is_dir():
        return "a file outside the class folders"
    if path.name.startswith((".", "__")):
        return "a hidden folder"
    return "a run directory" if any((path / name).exists() for name in RUN_FILES) else None


def _images(folder: Path, problems: list[Problem]) -> list[Path]:
    images = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_image(path) and not path.name.startswith("."):
            images.append(path)
        elif not path.name.startswith((".", "__", "Thumbs.db")):
            problems.append(Problem("warning", str(path), f"{_kind(path)} was skipped", "move, rename or remove it"))
    return images


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder inside a class"
    return "a broken link" if is_image(path) else "a file whose ending is no image's"
