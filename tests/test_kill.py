"""SIGKILL at random moments: the run that went on is bitwise the run that was never killed.

On other data: SNUG_KILL="snugnet/quickstart --set train.epochs=2" SNUG_DATA=... pytest -m slow tests/test_kill.py -s
"""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small_runs import leftovers, outcome
from snugnet import runs

DIGITS = "snugnet/digits --set train.epochs=3 --set train.ema.decay=0.9 --set train.keep=best --set train.batch_size=8"
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
    """Kills a session so long after it named its device; whether it was still at work."""
    process = subprocess.Popen(begin(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()  # the line of hardware: imports are over, data is being opened
    time.sleep(seconds)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, float]:
    """An uninterrupted run, the seconds from its device's line to its first epoch's, and those of an epoch."""
    run = tmp_path_factory.mktemp("whole") / "run"
    process = subprocess.Popen(begin(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    started = time.monotonic()
    process.stderr.readline()
    first_s = time.monotonic() - started
    process.communicate()
    assert process.returncode == 0
    return run, first_s, max(line["seconds"] for line in runs.read(run).metrics)


def survives(whole: tuple[Path, float, float], run: Path, kills: int, seed: int) -> None:
    """Sessions of up to two epochs, so that kills fall into reading, training, writing and judging."""
    reference, first_s, epoch_s = whole
    moments = random.Random(seed)
    for kill in range(kills):
        after = moments.uniform(0.5 * first_s, first_s + epoch_s)
        killed = kill_after(run, after)
        epochs = len((run / "metrics.jsonl").read_text().splitlines()) if (run / "metrics.jsonl").exists() else 0
        print(
            f"kill {kill + 1} of {kills}: after {after:.2f} s, {epochs} epochs logged, {'killed' if killed else 'over'}"
        )
    finish(run)
    assert outcome(run) == outcome(reference)
    assert not leftovers(run)


def test_three_kills(whole: tuple[Path, float, float], tmp_path: Path):
    survives(whole, tmp_path / "run", kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [10, 11])
def test_ten_kills(whole: tuple[Path, float, float], tmp_path: Path, seed: int):
    survives(whole, tmp_path / "run", kills=10, seed=seed)
