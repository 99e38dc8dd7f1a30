"""What a net costs before it is warm: a fresh process from its start to its first answer, and the memory that takes.

The scripts hold what a user's own program would: no more imports than the backend needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from snugnet.errors import ArtifactError

# The largest memory since the last write to clear_refs, of this process alone (Linux: else nothing is said).
MEMORY = """
import json, sys, time
def memory(name):
    try:
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except (OSError, StopIteration):
        return None
def imported():
    try:
        open("/proc/self/clear_refs", "w").write("5")
    except OSError:
        pass
    return time.time(), memory("VmRSS")
def answered(before):
    print(json.dumps([before[0], time.time(), before[1], memory("VmHWM")]))
file, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
"""
OF_TORCH = """
from pathlib import Path
import torch
from snugnet import artifact
torch.set_num_threads(threads)
before = imported()
shipped = artifact.read(Path(file))
spec = shipped.card.model
with torch.inference_mode():
    shipped.model(torch.zeros(batch, spec.in_channels, spec.image_size, spec.image_size))
answered(before)
"""
OF_RUNTIME = """
import numpy, onnxruntime
before = imported()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
kind = numpy.uint8 if given.type == "tensor(uint8)" else numpy.float32
session.run(None, {given.name: numpy.zeros((batch, *given.shape[1:]), kind)})
answered(before)
"""


@dataclass(frozen=True)
class Cold:
    """A script that reads a file and answers once; a file that is not on disk yet comes as its bytes."""

    script: str
    file: Path | bytes
    batch: int


@dataclass(frozen=True)
class Start:
    """Medians over fresh processes. Memory is None where the system does not tell it."""

    cold_start_ms: float  # from the process's start, interpreter and imports included, to the first answer
    load_ms: float  # of that: from the file to the first answer
    process_bytes: int | None  # the most that the process held while it read and answered
    memory_bytes: int | None  # of that: beyond what its imports hold


def fresh_start(cold: Cold, threads: int, times: int) -> Start:
    """Raises ArtifactError where the process fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = cold.file if isinstance(cold.file, Path) else Path(folder) / "net.onnx"
        if isinstance(cold.file, bytes):
            file.write_bytes(cold.file)
        found = [_once(cold, file, threads) for _ in range(times)]
    peaks = [peak for *_, peak in found if peak is not None]
    own = [peak - before for *_, before, peak in found if peak is not None and before is not None]
    return Start(
        cold_start_ms=round(1000 * median(ready - began for began, _, ready, *_ in found), 1),
        load_ms=round(1000 * median(ready - loaded for _, loaded, ready, *_ in found), 2),
        process_bytes=int(median(peaks)) if peaks else None,
        memory_bytes=int(median(own)) if own else None,
    )


def _once(cold: Cold, file: Path, threads: int) -> list[Any]:
    """When the process began, had its imports, had answered; memory after the imports, and at most since."""
    words = [sys.executable, "-c", MEMORY + cold.script, str(file), str(cold.batch), str(threads)]
    began = time.time()
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": str(threads)}
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ArtifactError(
            f"{file}: a fresh process could not run it ({last[:300]}); give --starts 0 to leave that out"
        )
    return [began, *json.loads(done.stdout.splitlines()[-1])]
