"""Training state as a file: a tree of dicts, lists, numbers and tensors in one safetensors file, without pickle.

The tree stands as JSON in the header, each tensor in it as {"$tensor": name}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from snugnet import files
from snugnet.errors import ArtifactError

_KEY = "state"
_TENSOR = "$tensor"


def write(path: Path, state: dict[str, Any]) -> None:
    """Whole or not at all. Raises StorageError."""
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_pack(state, tensors))
    files.write_bytes(path, save(tensors, {_KEY: tree}))


def read(path: Path) -> dict[str, Any]:
    """Raises ArtifactError for a file that is missing, damaged or not a checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise ValueError("it holds no training state")
            tree = json.loads(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        state: dict[str, Any] = _unpack(tree, tensors)
        return state
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ArtifactError(
            f"{path}: not a readable checkpoint ({error}); restore it from a copy, or train again in another directory"
        ) from error


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))  # a path of keys may name two: 1 and "1", "a/b" and "a" in "b"
        tensors[name] = value.contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        # Keys of an optimiser's state are numbers; JSON has only text.
        return {"$items": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_pack(item, tensors) for item in value]
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    return {key: _unpack(item, tensors) for key, item in value["$items"]}
