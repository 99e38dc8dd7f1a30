"""Images as a caller holds them (files, pictures, arrays, tensors) to the pixels that a net takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snugnet.data.decode import open_rgb, square, upright_rgb
from snugnet.errors import DataError

MODES = {1: "L", 3: "RGB"}
FORMS = "files, Pillow images, uint8 arrays (H, W, C) or uint8 tensors (C, H, W), one of them, a list or a batch"


def pixels(images: Any, channels: int, size: int) -> Tensor:
    """uint8 (N, channels, size, size), in the order given.

    What has another size is brought to it as image folders are: shorter side to `size`, then the centre. Files and
    pictures become grey or RGB as the net wants them; arrays and tensors must have its channels. Raises DataError.
    """
    made = [_fitted(each, channels, size, f"image {number}") for number, each in enumerate(_each(images))]
    if not made:
        raise DataError(f"images: must be one or more; got none: give {FORMS}")
    return torch.stack(made)


def one(image: Any, channels: int, size: int, name: str) -> Tensor:
    """The same of a single image, uint8 (channels, size, size), or of the bytes of an image file; messages call it
    `name`."""
    if isinstance(image, bytes):
        return _of_picture(open_rgb(BytesIO(image), name), channels, size, name)
    (only,) = _each(image)
    return _fitted(only, channels, size, name)


def _each(images: Any) -> Iterator[Any]:
    """One image after the other: files, pictures and lists as they are, arrays and tensors as (C, H, W)."""
    if isinstance(images, np.ndarray) and images.ndim in (2, 3, 4):
        images = images[..., None] if images.ndim == 2 else images
        yield from _each(torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3))))
    elif isinstance(images, Tensor) and images.ndim == 4:
        yield from images
    elif isinstance(images, (str, Path, Image.Image, Tensor, np.ndarray)):
        yield images
    elif isinstance(images, Iterable):
        for each in images:
            yield from _each(each)
    else:
        raise DataError(f"images: must be {FORMS}; got {type(images).__name__}")


def _fitted(image: Any, channels: int, size: int, name: str) -> Tensor:
    if isinstance(image, (str, Path)):
        return _of_picture(open_rgb(Path(image)), channels, size, name)
    if isinstance(image, Image.Image):
        try:
            return _of_picture(upright_rgb(image), channels, size, name)
        except ValueError as error:
            raise DataError(f"{name}: {error}") from error
    if image.dtype not in (torch.uint8, np.uint8):
        raise DataError(
            f"{name}: must be uint8, 0 to 255, for the net's own normalisation follows; got {image.dtype}: "
            "from floats in [0, 1] make (255 * images).round() first"
        )
    if image.ndim != 3 or image.shape[0] != channels:
        raise DataError(
            f"{name}: the net takes {channels} channels, an array as (H, W, {channels}) and a tensor as "
            f"({channels}, H, W); got one that reads as (C, H, W) = {tuple(image.shape)}: turn it round or convert it"
        )
    tensor: Tensor = image.cpu()
    if tensor.shape[1:] == (size, size):
        return tensor
    if channels not in MODES:
        raise DataError(
            f"{name}: must be {size}x{size}, for {channels} channels are not resized; got {tuple(tensor.shape)}"
        )
    rows = tensor.permute(1, 2, 0).contiguous().numpy()
    return _of_picture(Image.fromarray(rows[..., 0] if channels == 1 else rows), channels, size, name)


def _of_picture(picture: Image.Image, channels: int, size: int, name: str) -> Tensor:
    if channels not in MODES:
        raise DataError(f"{name}: a picture has 1 or 3 channels, but the net takes {channels}: give arrays")
    found = np.array(square(picture.convert(MODES[channels]), size))
    return torch.from_numpy(found.reshape(size, size, channels)).permute(2, 0, 1).contiguous()
