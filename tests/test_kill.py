"""SIGKILL at random moments of a training and of a compression: what went on is bitwise what was never killed.

Fifty kills take a quarter of an hour on two idle cores: pytest -m slow tests/test_kill.py -s
On other data: SNUG_KILL="train snugnet/quickstart --set train.epochs=1" SNUG_DATA=... with the same command.
"""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from small_runs import leftovers, outcome

DIGITS = "snugnet/digits --set train.epochs=3 --set train.ema.decay=0.9 --set train.keep=best --set train.batch_size=8"
WORK = {
    "train": os.environ.get("SNUG_KILL", f"train {DIGITS}"),
    "compress": "compress parent --prune params=50% --epochs 2",
}
RUN = Path("run")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "snugnet", *words]


def begin(work: str, folder: Path) -> list[str]:
    """What a user types: resume where there is something to resume."""
    if (folder / RUN / "config.json").exists():
        return command("resume", str(RUN))
    return command(*shlex.split(WORK[work]), "--run", str(RUN))


def finish(work: str, folder: Path) -> None:
    done = subprocess.run(begin(work, folder), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def started(work: str, folder: Path) -> subprocess.Popen[bytes]:
    """A session that has said its first word: imports are over."""
    process = subprocess.Popen(begin(work, folder), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    return process


def kill_after(work: str, folder: Path, seconds: float) -> bool:
    """Kills a session so long after its first word; whether it was still at work."""
    process = started(work, folder)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is compressed."""
    path = tmp_path_factory.mktemp("parent") / "run"
    words = ["train", "snugnet/digits", "--set", "train.epochs=1", "--run", str(path)]
    subprocess.run(command(*words), check=True, capture_output=True)
    return path


def place(folder: Path, parent: Path) -> Path:
    """Where a work is done; paths in it are the same wherever it lies."""
    folder.mkdir(exist_ok=True)
    (folder / "parent").symlink_to(parent)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, parent: Path) -> Callable[[str], tuple[Path, float]]:
    """Of each work an uninterrupted run, and the seconds from its first word to its end."""

    @cache
    def done(work: str) -> tuple[Path, float]:
        folder = place(tmp_path_factory.mktemp("whole"), parent)
        process, began = started(work, folder), time.monotonic()
        process.communicate()
        assert process.returncode == 0
        return folder / RUN, time.monotonic() - began

    return done


def survives(whole: Callable[[str], tuple[Path, float]], work: str, folder: Path, seed: int) -> None:
    """Killed once, anywhere between its first word and its end, then gone on with."""
    reference, seconds = whole(work)
    after, run = random.Random(seed).uniform(0, seconds), folder / RUN
    killed = kill_after(work, folder, after)
    done = len((run / "metrics.jsonl").read_text().splitlines()) if (run / "metrics.jsonl").exists() else 0
    what = f"{done} epochs logged, {'killed' if killed else 'already over'}"
    print(f"{work}, seed {seed}: after {after:.2f} of {seconds:.2f} s, {what}")
    finish(work, folder)
    assert outcome(run) == outcome(reference)
    assert not leftovers(run)


@pytest.mark.parametrize(("work", "seed"), [("train", 0), ("train", 1), ("compress", 0)])
def test_a_kill(whole: Any, parent: Path, tmp_path: Path, work: str, seed: int):
    survives(whole, work, place(tmp_path, parent), seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 35))
@pytest.mark.parametrize("work", WORK)
def test_fifty_kills(whole: Any, parent: Path, tmp_path: Path, work: str, seed: int):
    survives(whole, work, place(tmp_path, parent), seed)
