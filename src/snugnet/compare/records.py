"""What is compared: run directories, and shipped files that are judged here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from snugnet import budget, device, judging, runs, scoring
from snugnet.data.config import DataConfig
from snugnet.data.splits import TRAINS_ON_VAL
from snugnet.errors import ArtifactError, UsageError
from snugnet.evaluate.metrics import accuracy
from snugnet.export import reading
from snugnet.problems import nearest

SPLITS = ("test", "val")


class Record(Protocol):
    """What a run directory holds, as far as it is judged and reported."""

    @property
    def path(self) -> Path: ...
    @property
    def summary(self) -> dict[str, Any]: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def environment(self) -> dict[str, Any]: ...
    @property
    def metrics(self) -> list[dict[str, Any]]: ...
    @property
    def bench(self) -> dict[str, Any]: ...
    def predictions(self, split: str) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class FileRecord:
    """A shipped file as a record: its cost from its card, its predictions made here; nothing of how it was trained."""

    path: Path
    summary: dict[str, Any]
    judged: dict[str, tuple[Tensor, Tensor]]
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    bench: dict[str, Any] = field(default_factory=dict)

    def predictions(self, split: str) -> tuple[Tensor, Tensor]:
        return self.judged[split]


def read_shipped(path: Path, split: str, data: DataConfig) -> FileRecord:
    """Judges a file on a split. Raises ArtifactError, DataError, MissingExtra."""
    shipped = reading.read(path)
    images, classes = judging.opened(data, split)
    judging.check_compatible(shipped, images, classes, data.name)
    logits = scoring.logits_of(shipped, images, device.find_device("auto"))
    cost = budget.price(shipped.card)
    summary = dict.fromkeys((*SPLITS, "recipe_sha256", "seed", "epochs", "seconds", "hardware", "weights")) | {
        "recipe": str(path),
        split: accuracy(logits, images.labels),
        "params": shipped.params,
        "macs": cost.macs,
        "bytes": shipped.size_bytes,
        "size_mb": cost.size_mb,
        "peak_activation_bytes": cost.peak_activation_bytes,
    }
    return FileRecord(path, summary, {split: (logits, images.labels)})


READERS: Mapping[str, Callable[[Path, str, DataConfig], Record]] = {
    ".safetensors": read_shipped,
    ".onnx": read_shipped,
}  # of files, by suffix


def open_records(paths: Sequence[Path], data: str | None = None, split: str | None = None) -> tuple[list[Record], str]:
    """All runs and files that `paths` stand for, in their order, and the split they are compared on.

    `data` is what files are judged on: where it is not given that of the first run, else CIFAR-10.
    Raises UsageError, ArtifactError, DataError.
    """
    members = [path for each in paths for path in runs.members(each)]
    read = {path: runs.read(path) for path in members if not path.is_file()}
    for record in read.values():
        check_finished(record)
    files = [path for path in members if path not in read]
    if data is not None and not files:
        raise UsageError(f"--data {data}: is what shipped files are judged on, and none is given: leave it out")
    for path in files:
        check_suffix(path)
    if split is not None:
        check_split(list(read.values()), split)
    on = split or common_split(list(read.values()))
    config = data_of(list(read.values()), data) if files else DataConfig()
    found = {path: READERS[path.suffix](path, on, config) for path in dict.fromkeys(files)}
    return [read[path] if path in read else found[path] for path in members], on


def data_of(read: Sequence[runs.RunRecord], name: str | None) -> DataConfig:
    """The data that files are judged on."""
    config = read[0].experiment.data if read else DataConfig()
    return config if name is None else config.model_copy(update={"name": name, "image_size": None, "memory": "auto"})


def check_suffix(path: Path) -> None:
    if path.suffix not in READERS:
        known = ", ".join(READERS)
        raise UsageError(f"{path}: is neither a run directory nor a shipped file ({known}); give one of them")


def check_runs(records: Sequence[Record]) -> None:
    if not records:
        raise UsageError("a comparison needs at least one run: name run directories, as in `snug compare runs/*`")
    for record in records:
        check_finished(record)


def check_finished(record: Record) -> None:
    if not record.summary:
        raise ArtifactError(f"{record.path}: the run is not finished: finish it with `snug resume {record.path}`")


def common_split(records: Sequence[Record]) -> str:
    """The split all runs were scored on: test, else val."""
    for split in SPLITS:
        if all(record.summary[split] is not None for record in records):
            return split
    without = next(record.path for record in records if record.summary["test"] is None)
    raise UsageError(f"{without}: no score on test, and not all runs have one on val: leave it out")


def check_split(records: Sequence[Record], split: str) -> None:
    """Raises UsageError where a split that was asked for has no score in a run."""
    if split not in SPLITS:
        raise UsageError(f"--split {split}: must be test or val{nearest(split, SPLITS)}")
    for record in records:
        if record.summary[split] is None:
            why = f" ({TRAINS_ON_VAL})" if split == "val" and record.summary.get("trained_on") == "all" else ""
            raise UsageError(f"{record.path}: no score on {split}{why}: leave it out, or choose another with --split")


def bench_of(record: Record) -> dict[str, Any]:
    """The timing that `snug bench` left in a run; empty where there is none. Raises ArtifactError."""
    needed = ("p50_ms", "batch", "threads", "device", "hardware", "backend", "version")
    if record.bench and (missing := [name for name in needed if name not in record.bench]):
        where = record.path / "bench.json"
        raise ArtifactError(f"{where}: no {', '.join(missing)} in it; `snug bench {record.path}` writes it again")
    if record.bench and not isinstance(record.bench["p50_ms"], (int, float)):
        where, seen = record.path / "bench.json", record.bench["p50_ms"]
        raise ArtifactError(f"{where}: p50_ms is {seen!r}, no number; `snug bench {record.path}` writes it again")
    return record.bench
