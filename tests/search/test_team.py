"""Worker processes: shared work, deaths at random moments, the same end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import postgres
import pytest

from small_runs import TINY

STUDY = """
base = "tiny.toml"
epochs = 6
method = "grid"
[space]
"model.stages.0.channels" = [4, 6, 8, 10]
"train.optimizer.lr" = [0.1, 0.2, 0.4]
"train.batch_size" = [16]
[budget]
params = 1500
"""  # 9 fit, 3 are over the budget
DEADLINE_S = 480


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "snugnet", "search", str(folder / "study.toml"), "--run", str(folder / "run"), *words]


def prepared(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.toml").write_text(TINY)
    (folder / "study.toml").write_text(STUDY)
    return folder


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def alone(folder: Path) -> dict[str, Any]:
    words = command(prepared(folder), "--json")
    return document(subprocess.run(words, capture_output=True, text=True, check=False, env=environment()))


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "SNUG_OFFLINE": "1"}


def killed(folder: Path, count: int, deaths: int, seed: int, *words: str) -> dict[str, Any]:
    """The study by `count` workers of which so many are killed, each in the middle of a trial."""
    process = subprocess.Popen(
        command(prepared(folder), "--workers", str(count), "--lease", "20s", "--json", *words),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    chance, left, until = random.Random(seed), deaths, time.monotonic() + DEADLINE_S
    while left and process.poll() is None and time.monotonic() < until:
        time.sleep(chance.uniform(0.2, 1.0))
        if at_work := [pid for pid in children(process.pid) if list((folder / "run" / "trials").glob("*/config.json"))]:
            os.kill(chance.choice(at_work), signal.SIGKILL)
            left -= 1
    out, errors = process.communicate(timeout=DEADLINE_S)
    assert left == 0, f"over before {left} of {deaths} were killed: {errors}"
    assert errors.count("ended with signal SIGKILL") == deaths, errors
    return document(subprocess.CompletedProcess([], process.returncode, out, errors))


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Every trial finished once, none lost, none other, and the same values, bitwise."""
    for found in (one, other):
        assert found["counts"] == {"done": 9, "over budget": 3}
        assert found["finished"]
        runs = Counter(row["run"] for row in found["trials"] if row["run"])
        assert set(runs.values()) == {1}
    kept = ("number", "state", "params", "values", "run", "epochs")
    assert [[row[name] for name in kept] for row in one["trials"]] == [
        [row[name] for name in kept] for row in other["trials"]
    ]
    assert one["best"]["number"] == other["best"]["number"]


def test_four_workers_on_postgresql_of_which_two_die(tmp_path: Path):
    pytest.importorskip("sqlalchemy")
    with postgres.server() as url:
        found = killed(tmp_path / "team", 4, 2, 0, "--storage", url)
    same(found, alone(tmp_path / "alone"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_two_workers_on_a_file_of_which_one_dies(tmp_path: Path, seed: int):
    pytest.importorskip("sqlalchemy")
    same(killed(tmp_path / "team", 2, 1, seed), alone(tmp_path / "alone"))


@pytest.mark.slow
def test_a_team_that_is_stopped_leaves_no_worker_and_goes_on(tmp_path: Path):
    pytest.importorskip("sqlalchemy")
    folder = prepared(tmp_path / "team")
    words = command(folder, "--workers", "2", "--json")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    while process.poll() is None and not list((folder / "run" / "trials").glob("*/metrics.jsonl")):
        time.sleep(0.1)
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, errors
    assert "stopped, nothing is lost; the same command goes on" in errors
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment())
    same(document(done), alone(tmp_path / "alone"))
