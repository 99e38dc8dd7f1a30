"""Training state as a file: a tree of dicts, lists, numbers and tensors in one safetensors file, without pickle.

The tree stands as JSON in the header, each tensor in it as {"$tensor": name}. A seal stands in front of it, a
hash of all the rest: nothing goes on from a file of which a bit is not as it was written.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from snugnet import files
from snugnet.errors import ArtifactError

_KEY = "state"
_TENSOR = "$tensor"
_UNSEALED = 64 * "0"


def write(path: Path, state: dict[str, Any], before: Path | None = None) -> None:
    """Whole or not at all, and only once it was read back; what stood there becomes `before`. Raises StorageError."""
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_pack(state, tensors))
    data = bytearray(save(tensors, {_KEY: _UNSEALED + tree}))
    place = _seal_at(data)
    data[place] = _seal(data).encode()
    with files.staged(path, data) as temporary:
        files.prove(temporary, path, data)
        if before is not None:
            files.put(path, before)
        files.put(temporary, path)


def read(path: Path) -> dict[str, Any]:
    """Raises ArtifactError for a file that is missing, damaged in any bit, or not a checkpoint."""
    try:
        data = bytearray(path.read_bytes())
        text = _header(data).get("__metadata__", {}).get(_KEY)
        if text is None:
            raise ValueError("it holds no training state")
        if not text.startswith("{"):  # one from before there were seals has none
            seal, text = text[: len(_UNSEALED)], text[len(_UNSEALED) :]
            data[_seal_at(data)] = _UNSEALED.encode()
            if _seal(data) != seal:
                raise ValueError("its bytes are not those that were written")
        state: dict[str, Any] = _unpack(json.loads(text), load(bytes(data)))
        return state
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ArtifactError(
            f"{path}: not a readable checkpoint ({error}); restore it from a copy, or train again in another directory"
        ) from error


def _header(data: bytearray) -> Any:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])


def _seal_at(data: bytearray) -> slice:
    """Where the seal stands: in front of the tree, whose own quotes are escaped. Raises ValueError."""
    opening = f'"{_KEY}":"'.encode()
    start = data.index(opening) + len(opening)
    return slice(start, start + len(_UNSEALED))


def _seal(data: bytearray) -> str:
    """SHA-256 of the whole file with no seal in it."""
    return hashlib.sha256(data).hexdigest()


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


def unfit(stamped: Any) -> str | None:
    """What keeps a checkpoint's tree from being one; what is in it is held against the net when that is loaded."""
    state = stamped.get("training") if isinstance(stamped, dict) else None
    if not isinstance(state, dict) or not isinstance(stamped.get("elapsed_s"), (int, float)):
        return "it has no training, or no time spent on it"
    epoch, history = state.get("epoch"), state.get("history")
    if type(epoch) is not int or epoch < 0 or type(state.get("step")) is not int or state["step"] < 0:
        return "epoch and step must be whole numbers"
    if not isinstance(history, list) or not all(map(_is_pair, history)):
        return "history must be pairs of numbers"
    missing = [name for name in ("model", "ema", "optimizer", "random", "losses") if name not in state]
    return f"it has no {' and no '.join(missing)}" if missing else None


def _is_pair(value: Any) -> bool:
    held = isinstance(value, (list, tuple)) and len(value) == 2
    return held and all(isinstance(number, (int, float)) for number in value)
