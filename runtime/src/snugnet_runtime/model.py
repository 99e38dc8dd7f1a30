"""A net that `snug export` wrote: its card, read and checked, and what it says of pixels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from snugnet_runtime.errors import ModelError

KEY = "snugnet"  # of the card among the file's metadata
INPUT, LOGITS, MAPS = "images", "logits", "class_maps"
SIZE, CHANNELS = 32, 3  # what a card does not name has these
QUIET = 4  # of ONNX Runtime's log: what is fatal alone; the rest comes as exceptions
CHANNEL_COUNTS = (1, 3)  # that pictures have

Pixels = NDArray[np.uint8]
Shares = NDArray[np.float64]
Maps = NDArray[np.float64]


@dataclass(frozen=True)
class Card:
    """What a net is asked with and answers: square images of `size`, and the names of its classes. `mean`: the colour
    of its training images, a pixel (0 to 255) a channel."""

    size: int
    channels: int
    classes: tuple[str, ...]
    mean: tuple[int, ...]

    def check_top(self, top: int) -> int:
        """Raises ValueError, a sentence without its subject."""
        if not 1 <= top <= len(self.classes):
            raise ValueError(f"must be 1 to {len(self.classes)}, the classes of the net; got {top}")
        return top


@dataclass(frozen=True)
class Model:
    """A net, ready to run. `session` may be asked from one thread at a time."""

    path: Path
    size_bytes: int
    card: Card
    session: Any

    def shares(self, images: Pixels) -> Shares:
        """Probabilities (N, classes) of uint8 images (N, C, H, W). Raises ModelError where they are not finite."""
        logits = self.session.run([LOGITS], {INPUT: images})[0].astype(np.float64)
        if not np.isfinite(logits).all():
            raise ModelError(f"{self.path}: its logits must be finite, but are not; train it again")
        grown = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: Shares = grown / grown.sum(axis=1, keepdims=True)
        return shares

    @property
    def has_maps(self) -> bool:
        """Whether it says what each place adds to a class."""
        return any(each.name == MAPS for each in self.session.get_outputs())

    def class_maps(self, image: Pixels) -> Maps:
        """(classes, side, side) of one image (C, H, W): the mean of a map, and the bias, are the logit of its class."""
        maps: Maps = self.session.run([MAPS], {INPUT: image[None]})[0][0].astype(np.float64)
        return maps

    def top(self, shares: Iterable[float], count: int) -> list[tuple[str, float]]:
        """The most probable classes of one image, falling; of equal ones the first, as in `snug predict`."""
        values = np.asarray(shares)
        order = np.argsort(-values, kind="stable")[:count]
        return [(self.card.classes[place], float(values[place])) for place in order]

    def blank(self, count: int) -> Pixels:
        return np.zeros((count, self.card.channels, self.card.size, self.card.size), np.uint8)


def read(path: Path, threads: int = 0) -> Model:
    """`threads`: 0 is one a core. Raises ModelError for a file that is missing, damaged, or at odds with its card."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); `snug export RUN` writes such a file") from error
    session = _session(path, data, threads)
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise ModelError(f"{path}: holds no snugnet card; give a file that `snug export` wrote")
    card = parse_card(path, text)
    _check_borders(path, session, card)
    return Model(path, len(data), card, session)


def parse_card(path: Path, text: str) -> Card:
    """Raises ModelError."""
    try:
        body = json.loads(text)
        spec, classes = body["model"], body["classes"]
        size, channels = spec.get("image_size", SIZE), spec.get("in_channels", CHANNELS)
        mean = tuple(round(255 * float(each)) for each in body["normalization"]["mean"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: its card is damaged; export it again") from error
    named = isinstance(classes, list) and classes and all(isinstance(name, str) for name in classes)
    if not named or type(size) is not int or type(channels) is not int or size < 1:
        raise ModelError(f"{path}: its card must name classes and the side of an image; export it again")
    if channels not in CHANNEL_COUNTS:
        raise ModelError(f"{path}: pictures have 1 or 3 channels, but the net takes {channels}")
    return Card(size, channels, tuple(classes), mean)


def _session(path: Path, data: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave cores to decoding
    options.enable_mem_pattern = False  # kept for each number of images in a batch: memory that grows
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of the runtime, whose errors have no common base
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: ONNX Runtime cannot run it ({reason}); export it again") from error


def _check_borders(path: Path, session: Any, card: Card) -> None:
    """Numbers must agree with the card; names of dimensions may be any."""
    given = [(each.name, each.type, each.shape[1:]) for each in session.get_inputs()]
    if [each[:2] for each in given] == [(INPUT, "tensor(float)")]:
        raise ModelError(f"{path}: takes images that are normalised already; export it without --raw")
    made = {each.name: (each.type, each.shape[1:]) for each in session.get_outputs()}
    takes = given == [(INPUT, "tensor(uint8)", [card.channels, card.size, card.size])]
    if not takes or made.get(LOGITS) != ("tensor(float)", [len(card.classes)]):
        raise ModelError(
            f"{path}: does not take the images, or does not give the classes, that its card names; export it again"
        )
