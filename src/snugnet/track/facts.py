"""What trackers are told, under the same names in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

EPOCH = {  # as a tracker has it: as metrics.jsonl has it
    "train/loss": "train_loss",
    "val/loss": "val_loss",
    "val/accuracy": "val_accuracy",
    "lr": "lr",
    "images_per_second": "images_per_second",
    "epoch_seconds": "seconds",
}
SCORES = ("accuracy", "loss", "top5", "macro_f1", "balanced_accuracy", "ece")  # of the shipped file
TOTALS = ("params", "bytes", "macs", "peak_activation_bytes", "seconds")

Value = str | bool | int | float
Ending = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class About:
    """A run as a tracker is introduced to it. `group` is the directory of several seeds, "" where there is one."""

    folder: Path  # the run directory: what a tracker writes goes into it
    name: str
    group: str
    params: Mapping[str, Value]
    epochs: int  # told before: later ones will follow


class Backend(Protocol):
    """One run in one tracker. It is made with an About and the `id` it had before, None for a new one."""

    id: str

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """The facts of an epoch, counted from 1."""

    def final(self, number: int, values: Mapping[str, float]) -> None:
        """What became of it, behind the last epoch."""

    def close(self, ending: Ending) -> None:
        """Everything is written; a stopped run may be opened again."""


def of_epoch(line: Mapping[str, Any]) -> dict[str, float]:
    """A line of metrics; what was not measured is left out."""
    return {name: float(line[key]) for name, key in EPOCH.items() if line.get(key) is not None}


def of_summary(summary: Mapping[str, Any]) -> dict[str, float]:
    """A finished run: scores of the shipped file on test, its accuracy on val, what it costs."""
    test, val = (summary["scores"].get(split, {}) for split in ("test", "val"))
    found = {f"test/{name}": test.get(name) for name in SCORES}
    found |= {"test/tta_accuracy": summary.get("tta_test"), "val/shipped_accuracy": val.get("accuracy")}
    found |= {name: summary[name] for name in TOTALS}
    return {name: float(value) for name, value in found.items() if value is not None}


def flat(values: Any, path: str = "") -> dict[str, Value]:
    """A configuration as one level: "train.optimizer.lr", "model.stages.0.channels"."""
    if isinstance(values, Mapping):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, (list, tuple)):
        items = [(str(place), value) for place, value in enumerate(values)]
    else:
        return {path: values}
    return {key: each for name, value in items for key, each in flat(value, f"{path}.{name}".lstrip(".")).items()}
