"""SIGKILL at random moments: the run that went on is bitwise the run that was never killed.

On other data: SNUG_KILL="snugnet/quickstart --set train.epochs=1" SNUG_DATA=... pytest -m slow tests/test_kill.py -s
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
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """An uninterrupted run, and the seconds from its first word to its end."""
    run = tmp_path_factory.mktemp("whole") / "run"
    process = subprocess.Popen(begin(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    started = time.monotonic()
    process.communicate()
    assert process.returncode == 0
    return run, time.monotonic() - started


def survives(whole: tuple[Path, float], run: Path, seed: int) -> None:
    """Killed once, anywhere between its first word and its end, then gone on with."""
    reference, seconds = whole
    after = random.Random(seed).uniform(0, seconds)
    killed = kill_after(run, after)
    done = len((run / "metrics.jsonl").read_text().splitlines()) if (run / "metrics.jsonl").exists() else 0
    what = f"{done} epochs logged, {'killed' if killed else 'already over'}"
    print(f"seed {seed}: after {after:.2f} of {seconds:.2f} s, {what}")
    finish(run)
    assert outcome(run) == outcome(reference)
    assert not leftovers(run)


@pytest.mark.parametrize("seed", range(2))
def test_a_kill(whole: tuple[Path, float], tmp_path: Path, seed: int):
    survives(whole, tmp_path / "run", seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_ten_kills(whole: tuple[Path, float], tmp_path: Path, seed: int):
    survives(whole, tmp_path / "run", seed)
