"""The shipped file: a safetensors file that holds the weights and, in its header, the card.

The card is everything a reader needs to build the net and use it: the specification, the class names and the input
normalisation. It stands as one metadata entry of fixed-width numbers, so that the same net gives the same bytes and
the size of the file is known before anything is trained.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from snugnet import files
from snugnet.compress import integer, packing
from snugnet.compress.config import Quantization
from snugnet.compress.graph import structure
from snugnet.compress.packing import pack
from snugnet.compress.quantize import Quantized
from snugnet.config import Frozen
from snugnet.data.config import Normalization
from snugnet.errors import ArtifactError, RecipeError
from snugnet.models.resnet import build_meta
from snugnet.models.spec import ModelSpec

FORMAT, QUANTIZED = 1, 2  # the second since files may hold other numbers than float32
DTYPES = {"F32": torch.float32, "I32": torch.int32, "F16": torch.float16, "I8": torch.int8, "U8": torch.uint8}
_COUNTER = "num_batches_tracked"
KEY = "snugnet"  # one entry only: safetensors keeps several in no fixed order


class Card(Frozen):
    """What a shipped net is: its specification, its classes in the order of the logits, its input normalisation, and
    how its numbers are kept where they are not float32."""

    model: ModelSpec
    classes: tuple[str, ...]
    normalization: Normalization
    quantization: Quantization | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Card:
        if len(self.classes) != self.model.classes:
            raise ValueError(f"{len(self.classes)} class names for {self.model.classes} logits")
        if not len(self.normalization.mean) == len(self.normalization.std) == self.model.in_channels:
            raise ValueError(f"normalisation of {len(self.normalization.mean)} channels for {self.model.in_channels}")
        return self

    def text(self) -> str:
        """The card as one line of JSON, its floating-point constants at a fixed width."""
        fixed = {name: [f"{value:+.6f}" for value in values] for name, values in self.normalization}
        body: dict[str, Any] = {
            "format": QUANTIZED if self.quantization else FORMAT,
            "model": self.model.plain(exclude_defaults=True),
            "classes": self.classes,
            "normalization": fixed,
        }
        if self.quantization:
            body["quantization"] = self.quantization.plain(exclude_defaults=True)
        return json.dumps(body, separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True)
class Shipped:
    """A net as read from its file, in evaluation mode, on the CPU."""

    path: Path
    size_bytes: int
    card: Card
    model: nn.Module
    quantized: Quantized | None = None  # the integers that the model was made of, where the file holds them

    @cached_property
    def params(self) -> int:
        """Of the net as its specification has it, whatever its file has folded."""
        return sum(parameter.numel() for parameter in build_meta(self.card.model).parameters())


def shipped_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Weights and running statistics; the counters of batch norm are for training only and stay behind."""
    return {name: value for name, value in model.state_dict().items() if not name.endswith(_COUNTER)}


def encode(card: Card, model: nn.Module | Quantized) -> bytes:
    """The file's bytes: a function of card and weights alone. A net comes quantised as its card says, but for float16,
    which is made here."""
    if isinstance(model, Quantized):
        return save(pack(model), {KEY: card.text()})
    kind = torch.float16 if card.quantization else torch.float32
    tensors = {name: value.detach().cpu().to(kind).contiguous() for name, value in shipped_tensors(model).items()}
    return save(tensors, {KEY: card.text()})


def layout(card: Card) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Type and shape of each tensor that the file of a card holds. Raises RecipeError of a user's own block."""
    if card.quantization and card.quantization.weights != "float16":
        flat = packing.layout(structure(card.model), card.quantization)
        return {name: (kind, (length,)) for name, (kind, length) in flat.items()}
    kind = torch.float16 if card.quantization else torch.float32
    tensors = shipped_tensors(build_meta(card.model))
    return {name: (kind, tuple(value.shape)) for name, value in tensors.items()}


def predict_bytes(card: Card) -> int:
    """The exact size of the file, before there are any weights, and without memory for them."""
    return size_of(card, layout(card))


def size_of(card: Card, tensors: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> int:
    """The same where type and shape of its tensors are known already."""
    header: dict[str, Any] = {"__metadata__": {KEY: card.text()}}
    end = 0
    names = {kind: name for name, kind in DTYPES.items()}
    order = list(names)  # of a safetensors file: by type, then by name
    for name, (kind, shape) in sorted(tensors.items(), key=lambda each: (order.index(each[1][0]), each[0])):
        start, end = end, end + kind.itemsize * prod(shape)
        header[name] = {"dtype": names[kind], "shape": list(shape), "data_offsets": [start, end]}
    text = len(json.dumps(header, separators=(",", ":")))
    return 8 + -(-text // 8) * 8 + end  # the header's length, the header in whole words, the weights


def write(path: Path, card: Card, model: nn.Module | Quantized) -> int:
    """Writes the shipped file; returns its size by stat(). Raises StorageError."""
    return files.write_bytes(path, encode(card, model))


def read(path: Path) -> Shipped:
    """Raises ArtifactError for a file that is missing, damaged, foreign, or at odds with its own specification."""
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; a finished run has its net in model.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path}: not a readable safetensors file ({error}); copy or train it again") from error
    if text is None:
        raise ArtifactError(f"{path}: holds weights but no snugnet card; give a file that `snug train` wrote")
    card = parse_card(path, text)
    _check_blocks(path, card, tensors)
    try:
        expected = layout(card)
    except RecipeError as error:  # of a user's own block
        raise ArtifactError(f"{path}: {error}") from error
    _check_tensors(path, expected, tensors)
    whole = _integers(card, tensors)
    model = integer.module(whole) if whole else _floats(card, tensors)
    return Shipped(path, path.stat().st_size, card, model.eval().requires_grad_(False), whole)


def _integers(card: Card, tensors: dict[str, Tensor]) -> Quantized | None:
    if card.quantization is None or card.quantization.weights == "float16":
        return None
    return packing.unpack(structure(card.model), card.quantization, tensors)


def _floats(card: Card, tensors: dict[str, Tensor]) -> nn.Module:
    model = build_meta(card.model).to_empty(device="cpu")
    counters = {name: torch.tensor(0) for name in model.state_dict() if name.endswith(_COUNTER)}
    model.load_state_dict({name: value.float() for name, value in tensors.items()} | counters)
    return model


def parse_card(path: Path, text: str) -> Card:
    """The inverse of `Card.text`. Raises ArtifactError."""
    try:
        body = json.loads(text)
        if body.pop("format") != (QUANTIZED if "quantization" in body else FORMAT):
            raise ValueError("another format version")
        body["normalization"] = {name: [float(x) for x in values] for name, values in body["normalization"].items()}
        return Card.parse(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"{path}: its card cannot be read ({reason}); it needs format {FORMAT}") from error


def _check_blocks(path: Path, card: Card, seen: dict[str, Tensor]) -> None:
    """A short card may ask for a net that takes minutes to build: no more blocks than there are numbers for."""
    blocks = sum(stage.blocks for stage in card.model.stages)
    kept = len(seen["biases"]) if "biases" in seen and seen["biases"].ndim else len(seen)  # of integers a channel each
    if blocks > kept:
        raise ArtifactError(f"{path}: its card names {blocks:,} blocks, and it holds numbers of at most {kept:,}")


def _check_tensors(
    path: Path, expected: dict[str, tuple[torch.dtype, tuple[int, ...]]], seen: dict[str, Tensor]
) -> None:
    problems = [f"{name} is missing" for name in expected.keys() - seen.keys()]
    problems += [f"{name} is unknown" for name in seen.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(seen[name].shape)} {seen[name].dtype}, not {shape} {kind}"
        for name, (kind, shape) in expected.items()
        if name in seen and (seen[name].shape != shape or seen[name].dtype != kind)
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3])
        raise ArtifactError(f"{path}: {len(problems)} tensors do not fit its own specification: {shown}")
