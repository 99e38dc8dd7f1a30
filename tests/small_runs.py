"""Runs that take a fraction of a second, and what must be equal when two of them are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from snugnet import recipe
from snugnet.recipe import Recipe

TINY = """
[model]
stages = [["basic", 1, 4]]
stem = { stride = 2 }
[data]
name = "digits"
[train]
epochs = 2
batch_size = 512
augment = [{ op = "crop", padding = 1 }]
"""  # 3 steps an epoch
SGD_EMA_BEST = [
    'train.keep="best"',
    "train.optimizer.lr=0.3",
    "train.ema.decay=0.2",
    "train.ema.every=2",
    "train.optimizer.nesterov=true",
]
ADAMW_DROPOUT = ["train.optimizer.name=adamw", "train.optimizer.lr=0.01", "model.head.dropout=0.3"]
STEPS = 6
TIMES = {"seconds", "images_per_second", "date", "command"}  # what two equal runs may differ in


def tiny(*overrides: str) -> Recipe:
    return recipe.parse(TINY, "tiny.toml", "tiny", overrides)


def outcome(path: Path) -> dict[str, Any]:
    """All of a finished run that must not depend on when it was stopped: bytes where they are bytes."""
    summary = json.loads((path / "summary.json").read_text())
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    checkpoints = {file.name: _training(file) for file in sorted((path / "checkpoint").iterdir())}
    return {
        "summary": {name: value for name, value in summary.items() if name not in TIMES},
        "metrics": [{name: value for name, value in line.items() if name not in TIMES} for line in lines],
        "artifact": (path / "model.safetensors").read_bytes(),
        "predictions": {file.name: file.read_bytes() for file in (path / "predictions").iterdir()},
        "checkpoints": checkpoints,
        "config": (path / "config.json").read_text(),
        "csv lines": len((path / "metrics.csv").read_text().splitlines()),
    }


def _training(file: Path) -> dict[str, bytes]:
    return {name: tensor.contiguous().view(-1).numpy().tobytes() for name, tensor in load_file(file).items()}


def leftovers(path: Path) -> list[str]:
    """Temporary files that a stopped write left in a run."""
    return [str(each) for each in path.rglob("*.part")]
