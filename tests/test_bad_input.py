"""Every wrong input that a user may give: one clear message, the right exit code, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command import fails, snug
from small_runs import TINY, leftovers, tiny
from snugnet import files, pipeline, runs
from snugnet.errors import Diverged
from snugnet.pipeline import Controls
from snugnet.runs import Run
from snugnet.train import loop
from snugnet.train.loop import Epoch

pytestmark = pytest.mark.usefixtures("elsewhere")

TRAIN = "train snugnet/digits --run run --set train.epochs=1 "


def images(root: Path, train: int = 12, size: int = 8) -> Path:
    """A folder of two classes that can be trained on."""
    for number, (split, label) in enumerate([(s, c) for s in ("train", "val", "test") for c in ("cat", "dog")]):
        for index in range(train if split == "train" else 4):
            path = root / split / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(1000 * number + index).integers(0, 256, (size, size, 3), np.uint8)
            Image.fromarray(pixels).save(path)
    return root


# the recipe and the command line


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epohcs=3", "--set: train.epohcs: unknown key, did you mean 'epochs'?"),
        ("trian.epochs=3", "--set: trian: unknown key, did you mean 'train'?"),
        ('train.epochs="3"', "--set: train.epochs: must be a whole number; got '3'"),
        ("train.epochs=3.5", "--set: train.epochs: must be a whole number; got 3.5"),
        (
            "train.epochs=0",
            "train: epochs must be at least 1, or 0 with init_from, whose weights then ship; got 0 without it",
        ),
        ("train.optimizer.lr=nan", "--set: train.optimizer.lr: must be a"),
        ("model.stages.0.channels=-1", "--set: model.stages.0.channels: must be greater than or equal to 1; got -1"),
        ("model.width=-1", "--set: model.width: must be greater than 0; got -1"),
        (
            "model.stages.0.block=foo",
            "--set: model.stages.0.block: must be one of basic, bottleneck, single, preact, wide, depthwise, "
            "fire, shuffle, transformer or "
            "'package.module:Name'; got 'foo'",
        ),
        ("budget.params=5 bananas", "--set: budget.params: a count must be a number, or a number with one of k, K, M"),
        ("budget.bytes=5M", "--set: budget.bytes: a size must be a number, or a number with one of B, kB"),
        ("budget.params=-5", "--set: budget.params: a count must be a number"),
        ("train.epochs", "--set train.epochs: must be section.key=value, for example --set train.epochs=5"),
        ("train.epochs.x=1", "--set train.epochs.x=1: train.epochs is a value, it has no key 'x'"),
        ("model.stages.7.channels=1", "'7' must be the number of an item, 0 to 1"),
        ("data.name=digitz", "digitz: is neither a known data set nor a path: did you mean 'digits'?"),
    ],
)
def test_a_value_that_cannot_be_meant(tmp_path: Path, override: str, words: str):
    answer = snug("train", "snugnet/digits", "--run", "run", "--set", override)
    fails(answer, 4 if override.startswith("data.") else 2, words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (
            "plan snugnet/digits --budget params=lots",
            2,
            "--budget: a count must be a number, or a number with one of k",
        ),
        (f"plan snugnet/digits --budget params={'9' * 400}", 2, "--budget: a count must be at most 1e+18"),
        ("plan snugnet/digits --budget weights=5", 2, "--budget weights=5: must be NAME=LIMIT with NAME one of params"),
        (
            "train snugnet/digits --stop-after soon",
            2,
            "--stop-after: a duration must be a number, or a number with one",
        ),
        (f"train snugnet/digits --stop-after {'9' * 400}", 2, "--stop-after: a duration must be at most 1e+18"),
        ("train snugnet/digits --device tpu", 2, "--device tpu: unknown device; give auto, cpu, cuda, cuda:1 or mps"),
        ("train snugnet/digits --device cpu:x", 2, "--device cpu:x: unknown device; give auto, cpu"),
        ("train snugnet/nothing", 2, "snugnet/nothing: neither a built-in recipe nor a file"),
        ("show snugnet/digit", 2, "did you mean 'snugnet/digits'?"),
        ("evaluate nowhere", 4, "nowhere: no run here (there is no config.json); `snug train RECIPE --run nowhere`"),
        ("evaluate nowhere.safetensors", 4, "nowhere.safetensors: no such file; a finished run has its net in model"),
        (
            "resume nowhere",
            4,
            "nowhere: no run here (there is no config.json); `snug train RECIPE --run nowhere` makes",
        ),
        ("compare nowhere", 4, "nowhere: no run here"),
        ("report nowhere", 4, "nowhere: no run here"),
        ("verify nowhere", 4, "nowhere: no run here"),
        ("data check nowhere", 4, "nowhere: is neither a known data set nor a path: give a path, or one of cifar10"),
        (f"train snugnet/digits --run {'a' * 300}", 4, "File name too long"),
        (f"resume {'a' * 300}", 4, "File name too long"),
        (f"show {'a' * 300}", 4, "File name too long"),
        ("train snugnet/quickstart --run run", 4, "cifar10: SNUG_OFFLINE=1 forbids downloads: set SNUG_DATA to"),
        ("train snugnet/digits --data nowhere", 4, "nowhere: is neither a known data set nor a path"),
    ],
)
def test_a_command_line_that_cannot_be_met(tmp_path: Path, line: str, code: int, words: str):
    fails(snug(line), code, words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train", "bad.toml: not TOML: "),
        (
            TINY.replace("epochs = 2", "epochs = 2\nepohcs = 3"),
            "bad.toml:9: train.epohcs: unknown key, did you mean 'ep",
        ),
        ("\x00", "bad.toml: not TOML: "),
        ("", "bad.toml: model: missing; it must be given"),
    ],
)
def test_a_recipe_file_that_is_wrong(tmp_path: Path, text: str, words: str):
    (tmp_path / "bad.toml").write_text(text)
    fails(snug("train bad.toml --run run"), 2, words)
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_no_text(tmp_path: Path):
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    fails(snug("show bad.toml"), 2, "bad.toml: cannot be read as UTF-8 text")


def test_all_problems_are_told_at_once():
    answer = snug("show snugnet/digits --set train.epochs=-1 --set train.batch_size=1 --set model.widht=2")
    assert answer.code == 2
    assert all(name in answer.err for name in ("train.epochs", "train.batch_size", "model.widht"))


# the data


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sys.path.insert(0, str(Path(__file__).parent / "data"))
    from tiny_data import TinyCifar

    monkeypatch.setenv("SNUG_DATA", str(tmp_path))
    return TinyCifar(tmp_path).write_python()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def spoil(folder: Path, how: str) -> None:
    batch = folder / "data_batch_1"
    value = pickle.loads(batch.read_bytes())
    if how == "cut":
        batch.write_bytes(batch.read_bytes()[:-1000])
    elif how == "labels":
        batch.write_bytes(pickle.dumps(value | {b"labels": [10] * 40}))
    elif how == "shorter":
        batch.write_bytes(pickle.dumps(value | {b"labels": value[b"labels"][:-1]}))
    elif how == "evil":
        batch.write_bytes(pickle.dumps(value | {b"labels": Evil()}))
    elif how == "missing":
        batch.unlink()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "data_batch_1: is damaged or no data pickle: it ends too early: get the file again"),
        ("labels", "data_batch_1: labels must be 0 to 9; found 10: unpack the official archive again"),
        ("shorter", "data_batch_1: holds 40 images, 39 labels and 40 file names: unpack the official archive again"),
        ("evil", "data_batch_1: wants to run code (posix.system) and was not loaded: use the file from the official"),
        (
            "missing",
            "data_batch_1: is missing: unpack the official archive again, or point SNUG_DATA at a complete copy",
        ),
    ],
)
def test_damaged_cifar(batches: Path, tmp_path: Path, how: str, words: str):
    spoil(batches, how)
    fails(snug("train snugnet/quickstart --run run --set train.epochs=1"), 4, words)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "ran").exists()


def harm(root: Path, how: str) -> None:
    if how == "empty":
        shutil.rmtree(root / "train" / "cat")
        (root / "train" / "cat").mkdir()
    elif how == "corrupt":
        (root / "train" / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    elif how == "no cat in val":
        shutil.rmtree(root / "val" / "cat")
    elif how == "no train":
        shutil.rmtree(root / "train")
    elif how == "one class":
        for split in ("train", "val", "test"):
            shutil.rmtree(root / split / "dog")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("empty", "pets: class 'cat' has no image in train: add images, or remove the class everywhere"),
        ("corrupt", "3.png"),
        (
            "no cat in val",
            "pets: class 'cat': its val split has none of it: add some, or remove the val split to have one",
        ),
        ("no train", "pets: must hold train/<class>/*.png or the like, and holds test, val"),
        ("one class", "pets: has the one class 'cat', and at least two are needed: add a class"),
    ],
)
def test_a_folder_that_cannot_be_trained_on(tmp_path: Path, how: str, words: str):
    harm(images(tmp_path / "pets"), how)
    fails(snug(TRAIN + "--data pets"), 4, words)
    assert not (tmp_path / "run").exists()


def test_a_data_set_that_is_gone_or_changed_when_a_run_goes_on(tmp_path: Path):
    images(tmp_path / "pets")
    assert snug(TRAIN + "--data pets --stop-after 0").code == 0
    first, second = (tmp_path / "pets" / "train" / label / "0.png" for label in ("cat", "dog"))
    (tmp_path / "kept.png").write_bytes(first.read_bytes())
    first.write_bytes(second.read_bytes())
    words = "run: must go on with the images and labels that it began with, but pets has others now; put them back as"
    fails(snug("resume run"), 4, words)
    (tmp_path / "pets").rename(tmp_path / "moved")
    fails(snug("resume run"), 4, "pets: is neither a known data set nor a path")
    (tmp_path / "moved").rename(tmp_path / "pets")
    first.write_bytes((tmp_path / "kept.png").read_bytes())
    assert snug("resume run").code == 0


def test_no_test_images_is_no_failure(tmp_path: Path):
    shutil.rmtree(images(tmp_path / "pets") / "test")
    answer = snug(TRAIN + "--data pets --json")
    assert (answer.code, answer.json["test"]) == (0, None)
    assert answer.json["val"] is not None
    fails(snug("evaluate run"), 4, "pets: its test split is empty; choose another with --split")


def test_evaluation_on_other_data(finished: Path, tmp_path: Path):
    images(tmp_path / "pets")
    fails(snug("evaluate", finished, "--data", "pets"), 4, "takes images (1, 8, 8), but pets has (3, 8, 8)")


# the run directory


def test_a_run_that_exists(finished: Path):
    before = sorted(path.name for path in finished.iterdir())
    answer = snug("train", "snugnet/digits", "--run", finished)
    fails(
        answer,
        2,
        f"{finished}: holds a run; go on with it by `snug resume {finished}`, or give --run another directory",
    )
    assert sorted(path.name for path in finished.iterdir()) == before


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A run of digits, stopped in its first epoch."""
    assert snug("train snugnet/digits --set train.epochs=2 --run half --stop-after 0").code == 0
    return tmp_path / "half"


def test_a_locked_run(half: Path):
    with Run.open(half).locked():
        fails(snug("resume half"), 2, "half: another process is working on this run; wait for it or stop it")


def test_a_checkpoint_of_another_recipe(half: Path):
    config = json.loads((half / "config.json").read_text())
    config["train"]["epochs"] = 3
    (half / "config.json").write_text(json.dumps(config))
    fails(
        snug("resume half"), 4, "must come from the recipe in config.json, but is of another recipe or seed; put back"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 3}', "\x00" * 100])
def test_a_damaged_config(half: Path, text: str):
    (half / "config.json").write_text(text)
    fails(snug("resume half"), 4, "config.json: ")


def test_a_torn_last_line_of_metrics(half: Path, finished: Path):
    with (half / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "train_lo')
    assert snug("resume half").code == 0
    assert (half / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


@pytest.mark.parametrize("command", ["evaluate", "report", "verify"])
def test_an_unfinished_run(half: Path, command: str):
    fails(snug(command, half), 4, f"{half}: is not finished; finish it with `snug resume {half}`")


@pytest.mark.parametrize("harmed", ["model.safetensors", "summary.json"])
def test_a_damaged_file_of_a_finished_run(finished: Path, tmp_path: Path, harmed: str):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / harmed).write_bytes((run / harmed).read_bytes()[:100])
    fails(snug("evaluate run"), 4, f"run/{harmed}: ")


@pytest.mark.parametrize(
    "line", ["train snugnet/digits --run file/run", "data show digits -o file/x.png", "show file/x", "resume file/run"]
)
def test_a_file_where_a_folder_is_meant(tmp_path: Path, line: str):
    (tmp_path / "file").write_text("mine")
    answer = snug(line)
    assert answer.code in (2, 4)
    fails(answer, answer.code, "file/")
    assert (tmp_path / "file").read_text() == "mine"


# the machine


FULL = "cannot be written (No space left on device): the disk is full; free some space, then repeat the command"
READ_ONLY = "cannot be written (Read-only file system): the file system is read-only; choose another folder, then"
FORBIDDEN = "cannot be written (Permission denied): no permission to write here; choose another folder, then"


@pytest.mark.parametrize(
    ("number", "words", "at"),
    [(errno.ENOSPC, FULL, at) for at in (1, 3, 6, 9, 12)] + [(errno.EROFS, READ_ONLY, 1), (errno.EACCES, FORBIDDEN, 2)],
)
def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, at: int):
    calls, sync = 0, os.fsync

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= at:
            raise OSError(number, os.strerror(number))
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        fails(snug(TRAIN), 4, words)
    assert not leftovers(tmp_path)
    again = snug("resume run" if (tmp_path / "run" / "config.json").exists() else TRAIN)
    assert again.code == 0, again.err


def test_a_limit_on_the_size_of_files(tmp_path: Path):
    """The checkpoint is larger than the system allows; the run goes on once the limit is gone."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
        f"sys.argv = ['snug', *{TRAIN.split()!r}]; from snugnet.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4, done.stderr
    assert ".safetensors: cannot be written (File too large): the file is larger than this system" in done.stderr
    assert "Traceback" not in done.stderr
    assert not leftovers(tmp_path)
    assert snug("resume run").code == 0


def test_a_report_that_cannot_be_written(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pictures are drawn by other libraries, whose errors are ours to explain."""
    shutil.copytree(finished, tmp_path / "run")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run/plots/curve.png")

    monkeypatch.setattr("snugnet.report.of_run.save_plots", full)
    fails(snug("report run"), 4, "run/plots/curve.png: No space left on device; check the path and the disk")


def test_ctrl_c_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second one does not wait for the end of the batch."""
    fit = loop.fit

    def interrupted(*values: Any) -> Any:
        for progress in fit(*values):
            yield progress
            if isinstance(progress, Epoch):
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop, "fit", interrupted)
    answer = snug("train snugnet/digits --run run --set train.epochs=2")
    fails(
        answer,
        130,
        "Interrupted: Ctrl-C: stopped at once; run is kept up to its last checkpoint; go on with: snug resume run",
    )
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert runs.read(tmp_path / "run").metrics[-1]["epoch"] == 1
    assert snug("resume run").code == 0


def test_ctrl_c_before_anything_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline, "start", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        fails(snug(TRAIN), 130, "Interrupted: ")
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_while_the_net_is_judged_lets_it_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    judge = pipeline.judge

    def interrupted(*values: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return judge(*values)

    monkeypatch.setattr(pipeline, "judge", interrupted)
    assert snug(TRAIN).code == 0
    assert (tmp_path / "run" / "summary.json").is_file()


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []


def test_diverged(tmp_path: Path):
    wild = "--set train.optimizer.lr=100 --set train.optimizer.weight_decay=10 --set train.schedule.warmup_epochs=0"
    answer = snug("train snugnet/digits --run run " + wild)
    assert "epoch 1, step " in answer.err
    fails(answer, 5, "the loss must be finite, but is")
    assert (
        "lower train.optimizer.lr (now 100), lengthen train.schedule.warmup_epochs, or set train.clip_norm = 1.0"
        in answer.err
    )
    assert not (tmp_path / "run" / "summary.json").exists()
    with pytest.raises(Diverged):
        pipeline.resume(tmp_path / "run", Controls())


def test_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fit(*_: object) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(loop, "fit", fit)
    answer = snug(TRAIN)
    fails(answer, 2, "train.batch_size = 64 takes about ")
    assert answer.err.rstrip().endswith("are free; set train.accumulate=2, or train.batch_size=32")
    assert not (tmp_path / "run" / "summary.json").exists()


def test_over_budget_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def touched(*_: object, **__: object) -> None:
        pytest.fail("data was read")

    monkeypatch.setattr("snugnet.data.splits.open_splits", touched)
    monkeypatch.setattr("snugnet.data.splits.open_test", touched)
    monkeypatch.setattr("snugnet.data.digits.Digits.read", touched)
    answer = snug("train snugnet/digits --run run --budget params=19705")
    fails(answer, 3, "the design is 19,706 parameters, 1 over the budget of 19,705")
    assert list(tmp_path.iterdir()) == []


def test_a_bug_of_ours_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline, "start", lambda *_, **__: [][1])
    answer = snug(TRAIN)
    assert answer.code == 1
    assert "Bug: IndexError: list index out of range\nThis is a fault of snugnet. Repeat the command as" in answer.err
    with pytest.raises(IndexError):
        snug("--debug " + TRAIN)


def test_two_runs_started_at_once_are_two_runs(tmp_path: Path):
    """Neither overwrites the other's configuration."""
    recipe = tiny("train.epochs=1")
    pipeline.start(recipe, tmp_path / "run", Controls())
    config = (tmp_path / "run" / "config.json").read_bytes()
    fails(snug("train snugnet/digits --run run"), 2, "run: holds a run; go on with it by `snug resume run`")
    assert (tmp_path / "run" / "config.json").read_bytes() == config
