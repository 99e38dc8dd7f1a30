"""Each tracker is written as a stopped and a resumed training would, and read back with its own means."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from command import snug
from snugnet import runs
from snugnet.track.facts import About

PARAMS = {"name": "digits", "seed": 0, "train.optimizer.lr": 0.1, "train.optimizer.nesterov": True}
EPOCHS = [{"train/loss": 1 / k, "val/accuracy": 1 - 0.25 / k, "lr": 0.1} for k in (1, 2, 3)]
FINAL = {"test/accuracy": 0.875, "bytes": 83_176.0}
pytestmark = pytest.mark.filterwarnings("ignore:::(?!snugnet)")  # of packages that are not ours


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    """What others left open is collected here, not in a test where its warning is an error."""
    yield
    gc.collect()


def told(folder: Path, make: Callable[[About, str | None], Any]) -> str:
    """Two epochs, a stop, one more, the end; the id."""
    first = make(About(folder, "group/seed-0", "group", PARAMS, 0), None)
    for number in (1, 2):
        first.epoch(number, EPOCHS[number - 1])
    first.close("stopped")
    second = make(About(folder, "group/seed-0", "group", PARAMS, 2), first.id)
    assert second.id == first.id
    second.epoch(3, EPOCHS[2])
    second.final(3, FINAL)
    second.close("finished")
    return str(second.id)


def curve(name: str) -> list[tuple[int, float]]:
    return [(number, pytest.approx(values[name])) for number, values in enumerate(EPOCHS, 1)]


def test_tensorboard(tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from snugnet.track.tensorboard import Run

    told(tmp_path, Run)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in EPOCHS[0]:
        assert [(event.step, event.value) for event in events.Scalars(name)] == curve(name)
    assert [(event.step, event.value) for event in events.Scalars("test/accuracy")] == [(3, 0.875)]
    (text,) = events.Tensors("recipe/text_summary")
    assert b"| train.optimizer.lr | 0.1 |" in text.tensor_proto.string_val[0]
    assert any(
        b"train.optimizer.lr" in data
        for data in events.summary_metadata["_hparams_/experiment"].SerializeToString().splitlines()
    )


def test_tensorboard_hides_what_a_dead_process_told(tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from snugnet.track.tensorboard import Run

    about = About(tmp_path, "run", "", PARAMS, 1)
    first = Run(about, None)
    for number in (1, 2):  # died before epoch 2 was on record
        first.epoch(number, {"train/loss": 9.0})
    first.close("failed")
    second = Run(about, first.id)
    second.epoch(2, {"train/loss": 2.0})
    second.close("finished")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 9.0), (2, 2.0)]


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wandb = pytest.importorskip("wandb")
    from snugnet.track.wandb import Run

    offline(monkeypatch)
    found = told(tmp_path, Run)
    wandb.teardown()  # its own process may still write; the end of ours waits for it too
    files = sorted(
        tmp_path.glob(f"wandb/offline-run-*-{found}/run-{found}.wandb"), key=lambda file: file.stat().st_mtime
    )
    first, second = ([*records(file)] for file in files)
    assert [history(first), history(second)] == [curve("train/loss")[:2], curve("train/loss")[2:]]
    (begun,) = [record.run for record in first if record.HasField("run")]
    assert (begun.run_id, begun.display_name, begun.run_group, begun.project) == (
        found,
        "group/seed-0",
        "group",
        "snugnet",
    )
    config = {item.key: item.value_json for item in begun.config.update}
    assert (config["train.optimizer.lr"], config["name"]) == ("0.1", '"digits"')
    summary = {item.key or item.nested_key[0]: item.value_json for record in second for item in record.summary.update}
    assert float(summary["test/accuracy"]) == 0.875


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


def history(found: list[Any]) -> list[tuple[int, Any]]:
    rows = [record.history for record in found if record.HasField("history")]
    values = [{item.key or item.nested_key[0]: item.value_json for item in row.item} for row in rows]
    return [(row.step.num, float(value["train/loss"])) for row, value in zip(rows, values, strict=True)]


def records(file: Path) -> Iterator[Any]:
    """Records of a .wandb file: LevelDB's log format (blocks of 32 KiB) behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 32_768 - place % 32_768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for package in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(package)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    from snugnet.track.mlflow import Run

    found = told(tmp_path, Run)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    run = client.get_run(found)
    assert (run.info.status, run.info.run_name, run.data.tags["group"]) == ("FINISHED", "group/seed-0", "group")
    assert run.data.params == {name: str(value) for name, value in PARAMS.items()}
    for name in EPOCHS[0]:
        assert [(each.step, each.value) for each in client.get_metric_history(found, name)] == curve(name)
    assert run.data.metrics["test/accuracy"] == 0.875
    assert [each.name for each in client.search_experiments()] == ["snugnet", "Default"]


def test_the_command_line_writes_into_the_run(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    """One training, stopped and resumed, with all that are installed."""
    from snugnet.track import PACKAGES, is_installed

    offline(monkeypatch)
    names = [name for name, packages in PACKAGES.items() if all(map(is_installed, packages))]
    if not names:
        pytest.skip("no tracker is installed")
    line = f"train snugnet/digits --set train.epochs=2 --run run --track {','.join(names)}"
    assert snug(f"{line} --stop-after 0").code == 0
    answer = snug("resume run")
    assert (answer.code, "tracking ends" in answer.err) == (0, False), answer.err
    told = runs.tracking(elsewhere / "run")
    assert {name: (each["epoch"], each["finished"]) for name, each in told.items()} == dict.fromkeys(names, (2, True))
    folders = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlruns"}
    assert all(any((elsewhere / "run" / folders[name]).iterdir()) for name in names)
    assert {path.name for path in elsewhere.iterdir()} <= {"run", "cache"}
