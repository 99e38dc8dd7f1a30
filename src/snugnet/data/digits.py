"""scikit-learn's handwritten digits: 1,797 images of 8×8, with nothing to download.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
"""

from __future__ import annotations

import numpy as np
import torch

from snugnet.data.images import DataInfo, Images, Split
from snugnet.data.listing import train_or_test

CLASSES = tuple("0123456789")


class Digits:
    """A source. It comes unsplit: the test split is a fifth of each class, chosen by the hash of the pixels."""

    def describe(self) -> DataInfo:
        return DataInfo("digits", CLASSES, channels=1, image_size=8)

    def read(self, split: Split) -> Images | None:
        return None if split == "val" else train_or_test(_all(), split)


def _all() -> Images:
    from sklearn.datasets import load_digits  # a second to import, so only where it is used

    values, labels = load_digits(return_X_y=True)
    pixels = np.rint(values * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64)), None)
