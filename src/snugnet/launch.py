"""What torchrun told this process of itself and its siblings. Nothing here imports torch."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    rank: int = 0  # among all processes of the training, from 0
    count: int = 1
    local_rank: int = 0  # among those of this machine
    local_count: int = 1

    @property
    def command(self) -> str:
        """What stands before `train` or `resume` on a command line that starts as many processes."""
        if self.count == 1:
            return "snug"
        machines = f"--nnodes {self.count // self.local_count} " if self.count > self.local_count else ""
        return f"torchrun {machines}--nproc-per-node {self.local_count} -m -- snugnet"  # else --run is torchrun's own


def place() -> Place:
    """By the variables that torchrun sets; without all of them the process is alone."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    values = [os.environ.get(name, "") for name in (*names, "MASTER_ADDR")]
    return Place(*map(int, values[:4])) if all(values) else Place()
