"""Run directories: the only code that knows the names of their files.

recipe.toml        as given                          metrics.jsonl, .csv   a line an epoch
config.json        every value resolved              checkpoint/           for resume, never shipped
environment.json   versions, machine, command        model.safetensors     the artifact
predictions/       logits and labels of each split   summary.json          written last: it means finished
tracking.json      what each tracker was told        tensorboard/, ...     its own files
bench.json         the last timing of one image      start.safetensors     what a pruned net began with
README.md          the model card               compress.json         what it is the smaller form of
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from snugnet import changes, checkpoint, files
from snugnet import recipe as recipes
from snugnet.errors import ArtifactError, DataError, RunExists, RunLocked, SnugError
from snugnet.problems import nearest
from snugnet.recipe import Experiment, Recipe

State = dict[str, Any]
ROOT = Path("runs")  # where runs lie that were given no directory
START = "start.safetensors"
COMPRESSION = "compress.json"
PROBE_S = 0.2  # longer than a listing holds a lock, to see whether it is free
_OURS = {
    "recipe.toml",
    "environment.json",
    ".lock",
    START,
    COMPRESSION,
}  # what a run stopped while it was being created may hold
_GROUP = {"recipe.toml"}  # and a group


@dataclass(frozen=True)
class RunRecord:
    """A run directory as read: `summary` is empty while the run is not finished."""

    path: Path
    summary: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    metrics: list[dict[str, Any]]
    bench: dict[str, Any] = field(default_factory=dict)  # empty while it was not timed

    def predictions(self, split: str) -> tuple[Tensor, Tensor]:
        """Logits float32 (N, classes) and labels int64 (N,) of a split. Raises ArtifactError."""
        path = self.path / "predictions" / f"{split}.safetensors"
        try:
            tensors = load_file(path)
            return _checked(tensors["logits"], tensors["labels"])
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"{path}: predictions cannot be read ({error}); run `snug evaluate` again") from error

    @property
    def experiment(self) -> Experiment:
        return _experiment(self.path / "config.json", self.config)


def _checked(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Raises ValueError where they are not what `save_predictions` writes."""
    if logits.ndim != 2 or not logits.is_floating_point() or labels.dtype != torch.int64:
        raise ValueError("logits must be numbers of shape (images, classes), and labels int64")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"it holds {len(logits):,} rows of logits and labels of shape {tuple(labels.shape)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise ValueError(f"labels must be 0 to {logits.shape[1] - 1}")
    return logits, labels


class Run:
    """A run directory that is being written."""

    def __init__(self, path: Path, experiment: Experiment) -> None:
        self.path, self.experiment = path, experiment
        self.artifact = path / "model.safetensors"
        self.data = ""  # the digest of what it learns from, once that is open
        self.fell_back = ""  # why the last checkpoint is not the one that is gone on from
        self._last_is_good = False  # as far as is known: it was read, or read back

    @classmethod
    def create(cls, path: Path, recipe: Recipe, experiment: Experiment, environment: dict[str, Any]) -> Run:
        """A new run. Raises RunExists where the directory holds anything but a run that never started."""
        require_free(path)
        run = cls(path, experiment)
        with run.locked():
            require_free(path)  # of two that came at once, one was first
            files.write_text(path / "recipe.toml", recipe.text)
            files.write_json(path / "environment.json", environment)
            files.write_json(path / "config.json", experiment.plain())
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run, to go on with. Raises ArtifactError where there is none.

        Weights that it begins with and that lie in its own directory are found when that was moved.
        """
        experiment = read(path).experiment
        parent, own = experiment.parent, path / START
        if parent and Path(parent.path).name == START and not Path(parent.path).exists() and own.is_file():
            moved = parent.model_copy(update={"path": own.as_posix()})
            experiment = experiment.model_copy(update={"parent": moved})
        return cls(path, experiment)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps every other process from writing here; the system frees the lock of a dead one. Raises RunLocked.

        What a killed write left behind is removed.
        """
        try:
            files.make_folder(self.path)
            handle = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise files.storage_error(self.path / ".lock", error) from error
        try:
            if not _locked(handle, self.path):
                raise RunLocked(f"{self.path}: another process is working on this run; wait for it or stop it")
            for part in (entry for entry in self.path.rglob(".*.part") if files.is_part(entry)):
                part.unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)

    @property
    def is_finished(self) -> bool:
        return (self.path / "summary.json").is_file()

    @property
    def has_checkpoint(self) -> bool:
        return any(self._checkpoint(name).exists() for name in ("last", "previous"))

    def log(self, line: dict[str, Any]) -> None:
        """Adds an epoch to the metrics."""
        files.append_line(self.path / "metrics.jsonl", json.dumps(line))
        files.write_text(self.path / "metrics.csv", _as_csv(_metrics(self.path)))

    def rewind(self, epochs: int) -> None:
        """Drops the metrics of epochs that the checkpoint does not hold, and a torn last line."""
        kept = [line for line in _metrics(self.path) if line["epoch"] <= epochs]
        files.write_text(self.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
        files.write_text(self.path / "metrics.csv", _as_csv(kept))

    def record(self) -> RunRecord:
        return read(self.path)

    def save(self, state: State, elapsed_s: float, name: str = "last") -> None:
        """Writes a checkpoint: "last" to resume from, "best" as chosen on val. The last good one becomes "previous"."""
        stamped = {
            "recipe_sha256": self.experiment.sha256,
            "seed": self.experiment.seed,
            "data": self.data,
            "elapsed_s": elapsed_s,
            "training": state,
        }
        before = self._checkpoint("previous") if name == "last" and self._last_is_good else None
        checkpoint.write(self._checkpoint(name), stamped, before)
        self._last_is_good |= name == "last"

    def state(self, name: str = "last") -> State | None:
        """The training state of a checkpoint; None where there is none. Raises ArtifactError, DataError."""
        stamped = self._stamped(name)
        return None if stamped is None else stamped["training"]

    def elapsed_s(self) -> float:
        """Wall time spent on the run up to its last checkpoint, all sessions together."""
        stamped = self._stamped("last")
        return 0.0 if stamped is None else stamped["elapsed_s"]

    def _stamped(self, name: str) -> dict[str, Any] | None:
        """A checkpoint that is known to be of this recipe, seed and data; the one before where the last is lost."""
        path, previous = self._checkpoint(name), self._checkpoint("previous")
        try:
            stamped = _checkpoint(path)
        except ArtifactError as error:
            if name != "last" or not previous.exists():
                raise
            self.fell_back = str(error).partition(";")[0]
            stamped = None
        if name == "last":
            self._last_is_good = stamped is not None
            if stamped is None and previous.exists():
                path, stamped = previous, _checkpoint(previous)
                self.fell_back = self.fell_back or f"{self._checkpoint(name)}: not there"
        if stamped is not None:
            self._check_ours(path, stamped)
        return stamped

    def _check_ours(self, path: Path, stamped: dict[str, Any]) -> None:
        expected = (self.experiment.sha256, self.experiment.seed)
        if (stamped.get("recipe_sha256"), stamped.get("seed")) != expected:
            raise ArtifactError(
                f"{path}: must come from the recipe in config.json, but is of another recipe or seed; "
                "put back the checkpoint or the config.json that belong together, or train again in another directory"
            )
        if self.data and stamped.get("data", self.data) not in ("", self.data):
            raise DataError(
                f"{self.path}: must go on with the images and labels that it began with, but "
                f"{self.experiment.data.name} has others now; put them back as they were, "
                "or train again in another directory"
            )

    def save_predictions(self, split: str, logits: Tensor, labels: Tensor) -> None:
        tensors = {"logits": logits.cpu().contiguous(), "labels": labels.cpu().contiguous()}
        files.write_bytes(self.path / "predictions" / f"{split}.safetensors", save(tensors))

    def finish(self, summary: dict[str, Any]) -> None:
        files.remove(self._checkpoint("previous"))  # what shipped came from the last one, which is good
        files.write_json(self.path / "summary.json", summary)

    def _checkpoint(self, name: str) -> Path:
        return self.path / "checkpoint" / f"{name}.safetensors"


def _checkpoint(path: Path) -> dict[str, Any] | None:
    """None where there is none. Raises ArtifactError."""
    try:
        if not path.exists():
            return None
        stamped = checkpoint.read(path)
        if problem := checkpoint.unfit(stamped):
            raise ArtifactError(f"{path}: is no state of a training ({problem}); restore it from a copy")
        return stamped
    except ArtifactError as error:
        raise ArtifactError(f"{error}; or remove {path.parent}, and `snug resume` trains from the start") from error


def _locked(handle: int, path: Path) -> bool:
    """Whether we hold the lock. One that only looks whether it is free holds it for a moment, and is waited for."""
    try:
        if files.lock(handle, wait=False):
            return True
        time.sleep(PROBE_S)
        return files.lock(handle, wait=False)
    except OSError as error:
        raise files.storage_error(path / ".lock", error) from error


def is_held(path: Path) -> bool:
    """Whether a process is working on a run at this moment."""
    try:
        handle = os.open(path / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        return not files.lock(handle, wait=False)
    except OSError:
        return False
    finally:
        os.close(handle)


def tracking(path: Path) -> dict[str, dict[str, Any]]:
    """By tracker: the id that it gave the run, the epochs it was told, whether it knows the end."""
    return _read_json(path / "tracking.json")


def save_tracking(path: Path, told: dict[str, dict[str, Any]]) -> None:
    files.write_json(path / "tracking.json", told)


def require_free(path: Path, ours: set[str] = _OURS) -> None:
    """Raises RunExists where `path` holds anything but what a run, or a group, that never started may have left."""
    if path.exists() and not path.is_dir():
        raise RunExists(f"{path}: is a file; give --run another directory")
    held = {entry.name for entry in path.iterdir() if not files.is_part(entry)} if path.is_dir() else set()
    if held & {"config.json", "seeds.json"}:
        raise RunExists(f"{path}: holds a run; go on with it by `snug resume {path}`, or give --run another directory")
    if held - ours:
        raise RunExists(f"{path}: exists, is not empty and is no run; give --run another directory")


def read(path: Path) -> RunRecord:
    """Raises ArtifactError where `path` is no run directory or a file of it is damaged."""
    if (path / "seeds.json").is_file():
        inside = next((str(member) for member in members(path)), f"{path}/seed-...")
        raise ArtifactError(f"{path}: holds the runs of several seeds; give one of them, as {inside}")
    if not (path / "config.json").is_file():
        held = path.parent.iterdir() if path.parent.is_dir() else ()
        known = [each.name for each in held if (each / "config.json").is_file() or (each / "seeds.json").is_file()]
        remedy = nearest(path.name, known) or f"; `snug train RECIPE --run {path}` makes one"
        raise ArtifactError(f"{path}: no run here (there is no config.json){remedy}")
    return RunRecord(
        path=path,
        summary=_read_json(path / "summary.json"),
        config=_read_json(path / "config.json"),
        environment=_read_json(path / "environment.json"),
        metrics=_metrics(path),
        bench=_read_json(path / "bench.json"),
    )


def read_finished(path: Path) -> RunRecord:
    """As `read`, for a run that has its summary. Raises ArtifactError."""
    record = read(path)
    if not record.summary:
        raise ArtifactError(f"{path}: is not finished; finish it with `snug resume {path}`")
    return record


def changed(path: Path, config: dict[str, Any]) -> list[str]:
    """What `--set`, `--data` and the like changed in the recipe that a run was given, in words; nothing where that
    recipe is not there, or not one of this version."""
    with contextlib.suppress(SnugError, ValidationError, OSError, UnicodeDecodeError):
        text = (path / "recipe.toml").read_text(encoding="utf-8")
        given, here = recipes.parse(text, str(path)).experiment.plain(), Experiment.parse(config).plain()
        return [changes.told(each, here) for each in changes.differences(given, here)]
    return []


def shipped_file(path: Path) -> Path:
    """That of a finished run; a file is itself. Raises ArtifactError."""
    return read_finished(path).path / "model.safetensors" if path.is_dir() else path


@dataclass(frozen=True)
class Group:
    """Several seeds of one recipe, each a run in a directory of its own."""

    recipe: Recipe
    seeds: int


def create_group(root: Path, recipe: Recipe, seeds: int) -> None:
    """The directory of a group, or the same one again to go on with. Raises RunExists where it is anything else."""
    found = read_group(root)
    if found is None:
        require_free(root, _GROUP)
        files.write_text(root / "recipe.toml", recipe.text)
        files.write_json(root / "seeds.json", {"seeds": seeds, "experiment": recipe.experiment.plain()})
    elif (found.recipe.experiment, found.seeds) != (recipe.experiment, seeds):
        same = "this" if found.recipe.experiment == recipe.experiment else "another"
        raise RunExists(
            f"{root}: holds {found.seeds} seeds of {same} experiment; go on with it by `snug resume {root}`, "
            "or give --run another directory"
        )


def read_group(root: Path) -> Group | None:
    """None where the directory is not that of several seeds."""
    if not (root / "seeds.json").is_file():
        return None
    value = _read_json(root / "seeds.json")
    seeds, experiment = value.get("seeds"), value.get("experiment")
    if not isinstance(seeds, int) or not isinstance(experiment, dict):
        raise ArtifactError(f"{root / 'seeds.json'}: damaged (no seeds or no experiment); restore it, or train again")
    try:
        text = (root / "recipe.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{root / 'recipe.toml'}: cannot be read ({error}); restore it, or train again") from error
    return Group(Recipe(_experiment(root / "seeds.json", experiment), text, {}), seeds)


def members(path: Path) -> list[Path]:
    """The run directories that a path stands for: itself, or those of its seeds."""
    if read_group(path) is None:
        return [path]
    return sorted((entry for entry in path.glob("seed-*") if (entry / "config.json").is_file()), key=_seed_number)


def readable(root: Path) -> Iterator[RunRecord]:
    """The runs in a directory, those in groups of seeds as well; what cannot be read is none."""
    for config in sorted([*root.glob("*/config.json"), *root.glob("*/seed-*/config.json")]):
        with contextlib.suppress(ArtifactError):
            yield read(config.parent)


def _seed_number(path: Path) -> int:
    return int(path.name.removeprefix("seed-"))


LEDGER_FIELDS = ("recipe", "recipe_sha256", "commit", "seed", "epochs", "params", "macs", "bytes", "val", "test")
NOT_IN_ALL = ("size_mb", "p50_ms", "latency")  # older runs have no size, and only a timed one has a latency


def record_in_ledger(path: Path, summary: dict[str, Any]) -> None:
    """Adds a finished run to the ledger. `tta_test` is null where no test-time augmentation was judged."""
    line = {name: summary[name] for name in LEDGER_FIELDS}
    line |= {"tta_test": summary.get("tta_test"), "weights": summary["weights"], "trained_on": summary["trained_on"]}
    line |= {name: summary[name] for name in ("seconds", "hardware", "precision", "date", "command")}
    line |= {name: summary[name] for name in NOT_IN_ALL if name in summary}
    files.append_line(path, json.dumps(line))


def checkpoints(path: Path) -> list[Path]:
    """The files of a run that only going on with it needs."""
    return sorted(file for file in (path / "checkpoint").glob("*") if file.is_file())


def drop_checkpoints(path: Path) -> int:
    """Removes those of a finished run; the bytes that are free again. Raises ArtifactError, RunLocked, StorageError."""
    run = Run(path, read_finished(path).experiment)
    with run.locked():
        sizes = {file: file.stat().st_size for file in checkpoints(path)}
        for file in sizes:
            files.remove(file)
    return sum(sizes.values())


def compression(path: Path) -> dict[str, Any]:
    """What a run that was made smaller keeps of its making; empty of any other. Raises ArtifactError."""
    return _read_json(path / COMPRESSION)


def save_compression(path: Path, known: dict[str, Any]) -> None:
    files.write_json(path / COMPRESSION, known)


def save_timing(path: Path, timing: dict[str, Any]) -> None:
    """Keeps what `snug bench` found of a run, in place of what it found before."""
    files.write_json(path / "bench.json", timing)


def free_path(root: Path, name: str) -> Path:
    """The first of runs/<name>-001, -002, ... that is free."""
    stem = name.replace("/", "-") or "run"
    number = 1
    while (path := root / f"{stem}-{number:03d}").exists():
        number += 1
    return path


def _experiment(path: Path, config: dict[str, Any]) -> Experiment:
    try:
        return Experiment.parse(config)
    except ValidationError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"{path}: not a configuration of this version ({reason}); restore it from a copy, or train again"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return value
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); restore it from a copy, or train again") from error


def _metrics(path: Path) -> list[dict[str, Any]]:
    file = path / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
                raise ValueError("no epoch in it")
            rows.append(row)
        except (ValueError, RecursionError) as error:
            if number < len(lines):  # only the last line can be torn
                raise ArtifactError(f"{file}:{number}: damaged ({error}); delete the line") from error
    return rows


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        single = [name for name, value in rows[0].items() if not isinstance(value, list)]
        writer = csv.DictWriter(text, fieldnames=single, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace").decode()  # JSON may hold half a character
