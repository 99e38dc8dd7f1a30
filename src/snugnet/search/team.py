"""A study at work on this machine: its directory, its storage, and the processes that are its workers.

study.toml, study.json   the file as given; name and digest       study.db   trials and jobs, without --storage
trials/0007-ab12cd34/    the run of a trial, or of its seeds      workers/   what each worker process says
report.html              the page
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from snugnet import files, foreign
from snugnet.device import find_device
from snugnet.errors import Interrupted, ProcessLost, RunExists, SnugError, StorageError
from snugnet.search import store as storage
from snugnet.search.progress import Progress
from snugnet.search.store import Store
from snugnet.search.study import Study
from snugnet.search.work import TURN_S, Worker, work
from snugnet.stopping import Stopper

URL = "SNUG_SEARCH_STORAGE"  # how workers are told, since the command line is everybody's to read
STAMP = "study.json"
GRACE_S = 60.0  # for a worker to leave its run in order


def begin(study: Study, folder: Path, url: str | None = None) -> Store:
    """The study's storage, and its directory here. Raises RunExists where the directory is that of something else."""
    stamp = folder / STAMP
    if folder.exists() and not folder.is_dir():
        raise RunExists(f"{folder}: is a file; give --run another directory")
    if stamp.is_file():
        found = json.loads(stamp.read_text(encoding="utf-8"))
        if found.get("digest") != study.digest:
            raise RunExists(
                f"{folder}: holds another study, {found.get('name')}; go on with the file it began with (trials, time "
                "and purpose may change), or give --run another directory"
            )
    elif folder.is_dir() and any(entry.name != "study.db" and not files.is_part(entry) for entry in folder.iterdir()):
        raise RunExists(f"{folder}: exists, is not empty and holds no study; give --run another directory")
    files.write_text(folder / "study.toml", study.text)
    opened = Store(url or storage.default_url(folder), study.name)
    opened.join(study.digest, study.text)
    files.write_json(stamp, {"name": study.name, "digest": study.digest})
    return opened


def began(folder: Path) -> bool:
    """Whether there is a study to go on with."""
    return (folder / STAMP).is_file()


def worker_name() -> str:
    """One that no other worker has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


@dataclass(frozen=True)
class Team:
    """`count` worker processes on this machine, each with its share of cores and a card of its own where there are."""

    count: int
    command: Sequence[str]  # of a worker: its name and device are added
    url: str | None

    def start(self, worker: Worker, number: int) -> Member:
        name = worker_name()
        own = self._device(worker.device, number)
        log = worker.folder / "workers" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [*self.command, "--as-worker", name, "--device", own]
        environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.count)), **os.environ}
        if self.url:
            environment[URL] = self.url
        allowed = ["--allow-code"] if foreign.is_allowed() else []
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "snugnet", *allowed, *words], stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env=environment, start_new_session=True,
            )  # fmt: skip
        return Member(name, process, log)

    def _device(self, name: str, number: int) -> str:
        cards = torch.cuda.device_count() if find_device(name).type == "cuda" and ":" not in name else 0
        return f"cuda:{number % cards}" if cards else name


@dataclass(frozen=True)
class Member:
    """A worker process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """Its last line."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.is_file() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


def run(study: Study, opened: Store, worker: Worker, team: Team | None, stop_after_s: float | None = None) -> Progress:
    """Works on the study to its end: alone in this process, or as a team. Raises as `work` does."""
    if team is None:
        return work(study, opened, worker, stop_after_s)
    stopper = Stopper(stop_after_s)
    members: list[Member] = []
    with stopper:
        try:
            members += [team.start(worker, number) for number in range(team.count)]
            return _watched(study, opened, worker, members, stopper)
        finally:
            _ended(members)
            for member in members:
                with contextlib.suppress(StorageError):
                    opened.give_back_all(member.name)


def _watched(study: Study, opened: Store, worker: Worker, members: list[Member], stopper: Stopper) -> Progress:
    """Until no worker is left. One that died gives its trial back at once; the others go on."""
    at_work = list(members)
    while at_work:
        worker.watch(Progress.read(study, opened))
        if stopper.reason:
            raise Interrupted(f"{stopper.reason}: stopped, nothing is lost; the same command goes on")
        for member in [each for each in at_work if each.process.poll() is not None]:
            at_work.remove(member)
            if code := member.process.returncode:
                freed = opened.give_back_all(member.name)
                gone = "gives its trial back" if freed else "had no trial in hand"
                worker.warn(f"worker {member.name} ended with {_code(code)} and {gone}; it said: {member.said}")
        time.sleep(TURN_S / 2)
    progress = Progress.read(study, opened)
    worker.watch(progress)
    progress.require_fit()
    if not progress.is_over:
        raise _lost(members)
    return progress


def _code(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _lost(members: Sequence[Member]) -> SnugError:
    """What all workers ended with: their common error, or that they are gone."""
    failed = next((member for member in members if member.process.returncode), None)
    said = f"the last one said: {failed.said}; see {failed.log}" if failed else "none of them failed"
    return ProcessLost(
        f"search: all {len(members)} workers are gone before the study is over; {said}; the same command goes on"
    )


def _ended(members: Sequence[Member]) -> None:
    """Asks all that are left to stop, and waits until their runs are in order."""
    for member in members:
        if member.process.poll() is None:
            member.process.terminate()
    deadline = time.monotonic() + GRACE_S
    for member in members:
        try:
            member.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            member.process.kill()
            member.process.wait()


def as_member(worker: Worker, name: str) -> Worker:
    """This process as a worker of a team, which ends with the process that began it."""
    parent = os.getppid()
    return replace(worker, name=name, alive=lambda: os.getppid() == parent)
