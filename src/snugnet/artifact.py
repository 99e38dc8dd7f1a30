"""The shipped file: a safetensors file that holds the weights and, in its header, the card.

The card is everything a reader needs to build the net and use it: the specification, the class names and the input
normalisation. It stands as one metadata entry of fixed-width numbers, so that the same net gives the same bytes and
the size of the file is known before anything is trained.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from snugnet import files
from snugnet.config import Frozen
from snugnet.data.config import Normalization
from snugnet.errors import ArtifactError, RecipeError
from snugnet.models.resnet import ResNet, build_meta
from snugnet.models.spec import ModelSpec

FORMAT = 1
_COUNTER = "num_batches_tracked"
_KEY = "snugnet"  # one entry only: safetensors keeps several in no fixed order


class Card(Frozen):
    """What a shipped net is: its specification, its classes in the order of the logits, its input normalisation."""

    model: ModelSpec
    classes: tuple[str, ...]
    normalization: Normalization

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
        body = {
            "format": FORMAT,
            "model": self.model.plain(exclude_defaults=True),
            "classes": self.classes,
            "normalization": fixed,
        }
        return json.dumps(body, separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True)
class Shipped:
    """A net as read from its file, in evaluation mode, on the CPU."""

    path: Path
    size_bytes: int
    card: Card
    model: ResNet

    @cached_property
    def params(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def shipped_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Weights and running statistics; the counters of batch norm are for training only and stay behind."""
    return {name: value for name, value in model.state_dict().items() if not name.endswith(_COUNTER)}


def encode(card: Card, model: nn.Module) -> bytes:
    """The file's bytes: a function of card and weights alone."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in shipped_tensors(model).items()}
    return save(tensors, {_KEY: card.text()})


def predict_bytes(card: Card) -> int:
    """The exact size of the fp32 file, before there are any weights, and without memory for them."""
    header: dict[str, Any] = {"__metadata__": {_KEY: card.text()}}
    end = 0
    for name, value in sorted(shipped_tensors(build_meta(card.model)).items()):
        start, end = end, end + 4 * value.numel()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [start, end]}
    text = len(json.dumps(header, separators=(",", ":")))
    return 8 + -(-text // 8) * 8 + end  # the header's length, the header in whole words, the weights


def write(path: Path, card: Card, model: nn.Module) -> int:
    """Writes the shipped file; returns its size by stat(). Raises StorageError."""
    return files.write_bytes(path, encode(card, model))


def read(path: Path) -> Shipped:
    """Raises ArtifactError for a file that is missing, damaged, foreign, or at odds with its own specification."""
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; a finished run has its net in model.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path}: not a readable safetensors file ({error}); copy or train it again") from error
    if text is None:
        raise ArtifactError(f"{path}: holds weights but no snugnet card; give a file that `snug train` wrote")
    card = _card(path, text)
    try:
        model = build_meta(card.model)
    except RecipeError as error:  # of a user's own block
        raise ArtifactError(f"{path}: {error}") from error
    _check_tensors(path, shipped_tensors(model), tensors)
    model = model.to_empty(device="cpu")
    model.load_state_dict(tensors | {name: torch.tensor(0) for name in model.state_dict() if name.endswith(_COUNTER)})
    return Shipped(path, path.stat().st_size, card, model.eval().requires_grad_(False))


def _card(path: Path, text: str) -> Card:
    try:
        body = json.loads(text)
        if body.pop("format") != FORMAT:
            raise ValueError("another format version")
        body["normalization"] = {name: [float(x) for x in values] for name, values in body["normalization"].items()}
        return Card.parse(body)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"{path}: its card cannot be read ({reason}); it needs format {FORMAT}") from error


def _check_tensors(path: Path, expected: dict[str, Tensor], seen: dict[str, Tensor]) -> None:
    problems = [f"{name} is missing" for name in expected.keys() - seen.keys()]
    problems += [f"{name} is unknown" for name in seen.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(seen[name].shape)} {seen[name].dtype}, not {tuple(value.shape)} {value.dtype}"
        for name, value in expected.items()
        if name in seen and (seen[name].shape != value.shape or seen[name].dtype != value.dtype)
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3])
        raise ArtifactError(f"{path}: {len(problems)} tensors do not fit its own specification: {shown}")
