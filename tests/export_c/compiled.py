"""What C gives, and what it must give."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snugnet import artifact
from snugnet.artifact import Card, Shipped
from snugnet.compress.config import Quantization
from snugnet.compress.graph import Node
from snugnet.compress.integer import Integer
from snugnet.compress.quantize import Quantized
from snugnet.data.loader import Normalize
from snugnet.models.spec import ModelSpec
from specs import card

CC = shutil.which("cc") or shutil.which("gcc")
needs_cc = pytest.mark.skipif(CC is None, reason="there is no C compiler here")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


@dataclass(frozen=True)
class Answers:
    sums: np.ndarray
    logits: np.ndarray

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answers) and all(
            np.array_equal(mine, its) for mine, its in ((self.sums, other.sums), (self.logits, other.logits))
        )


class Watched(Integer):
    """The reference, with the sums that its logits are made of."""

    def _sums(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        self.seen = super()._sums(node, inputs)
        return self.seen


def pixels(spec: ModelSpec, count: int = 4, seed: int = 0) -> Tensor:
    shape = (count, spec.in_channels, spec.image_size, spec.image_size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def hwc(images: Tensor) -> np.ndarray:
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def wanted(net: Quantized, own: Card, images: Tensor) -> Answers:
    reference = Watched(net)
    logits = reference(Normalize(own.normalization, torch.device("cpu"))(images))
    return Answers(reference.seen.numpy().astype(np.int64), logits.numpy())


def shipped(net: Quantized, spec: ModelSpec, path: Path) -> Shipped:
    """As it comes back from its file."""
    own = card(spec).model_copy(update={"quantization": Quantization()})
    artifact.write(path, own, net)
    return artifact.read(path)


def build(folder: Path, flags: Sequence[str] = ("-O2",), compiler: str | None = None, *more: str) -> Path:
    """main.c with net.h, as the header of main.c says."""
    target = folder / f"net{abs(hash((compiler, *flags)))}"
    command = [compiler or CC, *STRICT, *flags, "-o", str(target), "main.c", "snug.c", *more]
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run(command: Sequence[str | Path], images: Tensor, classes: int) -> Answers:
    done = subprocess.run(command, input=hwc(images).tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert len(rows) == len(images)
    sums = np.array([[int(each) for each in row[1 : 1 + classes]] for row in rows])
    logits = np.array([[float(each) for each in row[1 + classes :]] for row in rows], np.float32)
    assert [int(row[0]) for row in rows] == logits.argmax(1).tolist()
    return Answers(sums, logits)
