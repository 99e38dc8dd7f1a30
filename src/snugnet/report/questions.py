"""Which images are explained: files of the user's, or what a run gets wrong with the most confidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snugnet.artifact import Shipped
from snugnet.data import decode, splits
from snugnet.data.unlabelled import image_files
from snugnet.errors import ArtifactError, DataError
from snugnet.report.mistakes import confident_mistakes
from snugnet.runs import RunRecord


@dataclass(frozen=True)
class Question:
    """An image: what its picture is called, its true class where that is known, and where it is from."""

    name: str
    true: int | None
    file: Path | None = None
    split: str | None = None
    index: int | None = None  # its place in the split
    converted: str | None = None  # what was done to a file to make it an input of the net


@dataclass(frozen=True)
class Questions:
    """`pixels` is uint8 (N, C, H, W), one for each question."""

    pixels: Tensor
    each: Sequence[Question]


def of_mistakes(record: RunRecord, count: int) -> Questions:
    """The most confident mistakes of a run on test, or on val where there is no test. Raises DataError."""
    split = next((name for name in ("test", "val") if record.summary[name] is not None), None)
    if split is None:
        raise DataError(f"{record.path}: was scored on no split; give IMAGES to explain")
    found = confident_mistakes(*record.predictions(split), count)
    if not found:
        raise DataError(f"{record.path}: makes no mistake on its {split} split; give IMAGES to explain")
    data = record.experiment.data
    images = splits.open_test(data) if split == "test" else splits.open_splits(data).val
    each = [Question(f"{split}-{one.index}", one.true, split=split, index=one.index) for one in found]
    return Questions(images.pixels[[one.index for one in found]], each)


def of_files(shipped: Shipped, paths: Sequence[Path]) -> Questions:
    """Image files, and those in folders, made inputs of a net as its data path makes them: upright, RGB, the shorter
    side to the net's size, then the centre. A file in a folder named like a class is taken to be of it.

    Raises ArtifactError, DataError.
    """
    spec = shipped.card.model
    if spec.in_channels != 3:
        raise ArtifactError(
            f"{shipped.path}: its net takes images of {spec.in_channels} channels, but files are read as RGB, 3; "
            "leave IMAGES out to explain images of its own data"
        )
    files = [file for path in paths for file in image_files(path)]
    pixels = torch.stack([_pixels(file, spec.image_size) for file in files])
    return Questions(pixels, [_question(file, shipped.card.classes, spec.image_size) for file in files])


def _pixels(file: Path, size: int) -> Tensor:
    return torch.from_numpy(np.array(decode.square(decode.open_rgb(file), size)).transpose(2, 0, 1))


def _question(file: Path, classes: Sequence[str], size: int) -> Question:
    folder = file.resolve().parent.name
    true = classes.index(folder) if folder in classes else None
    return Question(re.sub(r"[^\w.-]", "_", file.stem), true, file=file, converted=conversion(file, size))


def conversion(file: Path, size: int) -> str | None:
    """What `_pixels` does to a readable file, in words; None where its pixels stay as they are."""
    with Image.open(file) as image:
        mode, width, height = image.mode, image.width, image.height
    steps = [f"{mode} to RGB"] if mode != "RGB" else []
    if (width, height) != (size, size):
        cut = "" if width == height else ", cut to its centre"
        steps.append(f"{width}×{height} to {size}×{size}{cut}")
    return "; ".join(steps) or None
