"""SIGKILL at random moments: the run that went on is bitwise the run that was never killed.

On other data: SNUG_KILL="snugnet/quickstart --set train.epochs=2" SNUG_DATA=... pytest -m slow tests/test_kill.py -s
"""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small_runs import leftovers, outcome

# Larger batches take longer steps, smaller ones write more often for the time: about two seconds of training.
DIGITS = "snugnet/digits --set train.epochs=3 --set train.ema.decay=0.9 --set train.keep=best --set train.batch_size=16"
RECIPE = os.environ.get("SNUG_KILL", DIGITS)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "snugnet", *words]


def begin(run: Path) -> list[str]:
    """What a user types: resume where there is something to resume."""
    if (run / "config.json").exists():
        return command("resume", str(run))
    return command("train", *shlex.split(RECIPE), "--run", str(run))


def finish(run: Path) -> None:
    done = subprocess.run(begin(run), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def kill_after(run: Path, seconds: float) -> bool:
    """Whether the process was still at work after that long, and was killed."""
    process = subprocess.Popen(begin(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """An uninterrupted run, and how long it took."""
    run = tmp_path_factory.mktemp("whole") / "run"
    started = time.monotonic()
    finish(run)
    return run, time.monotonic() - started


def survives(whole: tuple[Path, float], run: Path, kills: int, seed: int) -> None:
    reference, duration = whole
    random_ = random.Random(seed)
    for kill in range(kills):
        after = random_.uniform(0.2, 1.0) * duration
        killed = kill_after(run, after)
        epochs = len((run / "metrics.jsonl").read_text().splitlines()) if (run / "metrics.jsonl").exists() else 0
        print(
            f"kill {kill + 1} of {kills}: after {after:.2f} s, {epochs} epochs logged, {'killed' if killed else 'over'}"
        )
    finish(run)
    assert outcome(run) == outcome(reference)
    assert not leftovers(run)


def test_three_kills(whole: tuple[Path, float], tmp_path: Path):
    survives(whole, tmp_path / "run", kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [10, 11])
def test_ten_kills(whole: tuple[Path, float], tmp_path: Path, seed: int):
    survives(whole, tmp_path / "run", kills=10, seed=seed)
