"""What becomes of a finished run, step by step: fewer channels, then fewer bits. Each step is a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from snugnet.budget import Budget
from snugnet.compress.prune import PruneConfig
from snugnet.ship import ladder, rounding, shrink
from snugnet.ship.ladder import Rung
from snugnet.ship.rounding import Rounding
from snugnet.ship.shrink import Child, Pruning, Wish


@dataclass(frozen=True)
class Way:
    """Pruned, or kept in fewer bits, or first the one and then the other."""

    pruning: Wish | None
    rounding: Rounding | None
    limits: Budget

    def children(self, run: Path, into: Path | None, where: torch.device) -> Iterator[Child]:
        """Each run as it is to be trained; the next is asked for once the one before is finished. `into`: the last."""
        if self.pruning:
            made = shrink.child(run, self.pruning, None if self.rounding else into, where)
            yield made
            run = made.path
        if self.rounding:
            yield rounding.child(run, self.rounding, into, self.limits)


def chosen(pruning: Pruning | None, format: str | None, epochs: int | None = None, changes: Sequence[str] = ()) -> Way:
    """As a user asks for it; epochs are of the first step."""
    first = Wish(pruning, epochs, changes) if pruning else None
    second = Rounding(format, None if pruning else epochs, changes) if format else None
    return Way(first, second, Budget())


def to_bytes(
    run: Path,
    size_bytes: int,
    where: torch.device,
    see: Callable[[Rung], None],
    epochs: int | None = None,
    changes: Sequence[str] = (),
) -> tuple[Way, list[Rung], Rung]:
    """The way that loses least on val, with the ladder and the rung it stands on. Raises OverBudget, UsageError."""
    rungs, best = ladder.climb(run, size_bytes, where, see)
    config = rounding.FORMATS.get(best.format)
    pruning = None
    if best.pruned:
        target = Pruning(f"bytes={size_bytes}", PruneConfig())
        pruning = Wish(target, epochs, changes, config.shipped if config else None)
    second = Rounding(best.format, None if pruning else epochs, changes) if config else None
    return Way(pruning, second, Budget(bytes=size_bytes)), rungs, best
