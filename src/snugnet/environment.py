"""What a result was measured with: versions, machine, code, command."""

from __future__ import annotations

import datetime
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import snugnet
from snugnet import foreign, parallel
from snugnet.device import Compute, cpu_flags
from snugnet.launch import place

_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")


def now() -> str:
    """UTC, to the second, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache
def commit() -> str:
    """The commit of the code that runs, "-dirty" behind it where files differ; "" outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""


@lru_cache
def cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def torch_version() -> str:
    return str(torch.__version__)


def hardware(device: torch.device) -> str:
    """One line: "AMD EPYC, 2 threads, avx512_bf16" or the card's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return ", ".join([cpu_name(), f"{count} thread{'s' if count != 1 else ''}", *best_flag()])


def processor(device: torch.device) -> str:
    """What computes, whatever the number of its threads: "AMD EPYC, avx512_bf16" or the card's name."""
    return hardware(device) if device.type == "cuda" else ", ".join([cpu_name(), *best_flag()])


def best_flag() -> list[str]:
    """The flag of the CPU that tells most of its speed; none where none is known."""
    return [flag for flag in _TELLING_FLAGS if flag in cpu_flags()][-1:]


def command_line() -> str:
    """As it can be typed again; `python -m snugnet` has the name of a file there."""
    name = Path(sys.argv[0]).name
    if place().count > 1:
        program = place().command
    else:
        program = "python -m snugnet" if name == "__main__.py" else name or "python"
    return f"{program} {shlex.join(sys.argv[1:])}".strip()


def changed(before: dict[str, Any], compute: Compute, code: Sequence[str] = ()) -> str:
    """What is different from a recorded environment in ways that change numbers; "" where nothing is."""
    here = describe(compute, code)
    before = {"foreign_code": {}, "processes": 1, "numpy": here["numpy"], "snugnet": here["snugnet"]} | before
    telling = ("device", "precision", "processes", "threads", "snugnet", "torch", "numpy", "hardware", "foreign_code")
    names = [name for name in telling if before.get(name) != here[name]]
    was, now_is = (", ".join(f"{name} {each.get(name)}" for name in names) for each in (before, here))
    return f"it began with {was} and goes on with {now_is}" if names else ""


def describe(compute: Compute, code: Sequence[str] = ()) -> dict[str, Any]:
    """The record that lies in a run directory; `code`: import paths of the user's own, already imported."""
    return {
        "snugnet": snugnet.__version__,
        "commit": commit(),
        "command": command_line(),
        "date": now(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
        "device": str(compute.device),
        "precision": compute.precision,
        "foreign_code": {path: foreign.fingerprint(path) for path in code},
        "processes": parallel.count(),
        "threads": torch.get_num_threads(),
        "hardware": hardware(compute.device),
        "cpu": cpu_name(),
        "cpu_flags": [flag for flag in _TELLING_FLAGS if flag in cpu_flags()],
    }
