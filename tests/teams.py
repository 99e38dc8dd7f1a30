"""Trainings in several processes, started as torchrun starts them, without torchrun's seconds of imports for each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

LIMIT_S = 240  # nothing here may take longer, on a machine however busy
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "sklearn.datasets", "snugnet.pipeline"])  # not snugnet.cli: it looks who it is


@dataclass(frozen=True)
class Fate:
    """What befalls one process behind its step number `step`."""

    rank: int
    step: int
    what: str  # the name of a signal, or "error"


@dataclass(frozen=True)
class Ended:
    code: int  # negative: by a signal
    out: str
    err: str
    seconds: float


def snug_together(count: int, *words: object, fate: Fate | None = None) -> list[Ended]:
    """`snug WORDS` in `count` processes; how each of them ended."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=LIMIT_S))
    started, children = time.monotonic(), []
    for rank in range(count):
        here, there = CONTEXT.Pipe(duplex=False)
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        variables = {
            **place,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": store.port,
            "TORCHELASTIC_USE_AGENT_STORE": True,
        }
        arguments = (
            {name: str(value) for name, value in variables.items()},
            [str(word) for word in words],
            fate,
            there,
        )
        child = CONTEXT.Process(target=_live, args=arguments)
        child.start()
        there.close()
        children.append((child, here))
    return [_ended(child, here, started) for child, here in children]


def _ended(child: Any, answers: Connection, started: float) -> Ended:
    child.join(max(0, LIMIT_S - (time.monotonic() - started)))
    seconds = time.monotonic() - started
    if child.is_alive():
        child.kill()
        raise AssertionError(f"a process hangs after {seconds:.0f} s")
    code, out, err = (child.exitcode, "", "") if child.exitcode else answers.recv()
    return Ended(code, out, err, seconds)


def _live(variables: dict[str, str], words: list[str], fate: Fate | None, answers: Connection) -> None:
    os.environ |= variables
    torch.set_num_threads(1)
    rank = int(variables["RANK"])
    if fate and fate.rank == rank:
        _await(fate)
    if rank:
        _write_nothing()
    from command import snug  # now that the process knows its place

    answer = snug(*words)
    answers.send((answer.code, answer.out, answer.err))


def _await(fate: Fate) -> None:
    from snugnet.errors import DataError
    from snugnet.parallel import Team

    stop, steps = Team.stop, []

    def fateful(team: Team, reason: str) -> str:
        steps.append(1)
        if len(steps) == fate.step:
            if fate.what == "error":
                raise DataError("the disk is gone")
            os.kill(os.getpid(), signal.Signals[fate.what])
        return stop(team, reason)

    Team.stop = fateful  # type: ignore[method-assign]


def _write_nothing() -> None:
    """Every process but the first may read alone."""
    from snugnet import files

    def refuse(name: str) -> Callable[..., Any]:
        def write(path: Path, *_: object) -> None:
            raise AssertionError(f"{name} of {path} by a process that does not lead")

        return write

    for name in ("write_bytes", "write_text", "write_json", "append_line"):
        setattr(files, name, refuse(name))
