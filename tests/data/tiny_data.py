"""Small data sets on disk: CIFAR-10 in its layouts, and pickles."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")


class TinyCifar:
    """Random images, 20 of each class to train on and 2 to test on, in every layout."""

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.root = root
        random = np.random.default_rng(seed)
        self.train = random.integers(0, 256, (200, 3072), np.uint8), np.arange(200) % 10
        self.test = random.integers(0, 256, (20, 3072), np.uint8), np.arange(20) % 10

    def shuffled(self, seed: int) -> TinyCifar:
        order = np.random.default_rng(seed).permutation(200)
        self.train = self.train[0][order], self.train[1][order]
        return self

    def batches(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        parts = [(self.train[0][k : k + 40], self.train[1][k : k + 40]) for k in range(0, 200, 40)]
        return dict(zip(BATCHES, [*parts, self.test], strict=True))

    def write_python(self) -> Path:
        folder = self.root / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        for name, (pixels, labels) in self.batches().items():
            names = [f"{name}_{i}.png".encode() for i in range(len(pixels))]
            dump(folder / name, {b"data": pixels, b"labels": labels.tolist(), b"filenames": names})
        dump(folder / "batches.meta", {b"label_names": [name.encode() for name in CLASSES]})
        return folder

    def write_binary(self) -> Path:
        folder = self.root / "cifar-10-batches-bin"
        folder.mkdir(parents=True)
        for name, (pixels, labels) in self.batches().items():
            np.concatenate([labels[:, None].astype(np.uint8), pixels], 1).tofile(folder / f"{name}.bin")
        (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
        return folder

    def write_folder(self) -> Path:
        folder = self.root / "cifar-10-folder"
        for split, (pixels, labels) in (("train", self.train), ("test", self.test)):
            for i, (row, label) in enumerate(zip(pixels, labels, strict=True)):
                path = folder / split / CLASSES[label] / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).save(path)
        return folder


def dump(path: Path, value: object, protocol: int = 2) -> None:
    path.write_bytes(pickle.dumps(value, protocol))
