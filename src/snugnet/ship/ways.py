"""What becomes of a finished run, step by step: fewer channels, then fewer bits. Each step is a run of its own.

Each run keeps in compress.json what it is a smaller form of and which step follows: resuming it goes on to the end of
the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from snugnet import runs
from snugnet.budget import Budget
from snugnet.compress.prune import PruneConfig
from snugnet.config import Frozen
from snugnet.errors import ArtifactError
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
        if not self.pruning:
            if self.rounding:
                made = rounding.child(run, self.rounding, into, self.limits)
                _keep(made.path, Origin(source=run.as_posix()))
                yield made
            return
        if self.rounding and into:
            runs.require_free(into)  # known before the first run has taken hours
        made = shrink.child(run, self.pruning, None if self.rounding else into, where)
        then = Then.of(self.rounding, self.limits, into) if self.rounding else None
        _keep(made.path, Origin(source=run.as_posix(), then=then))
        yield made
        following = rest(made.path)
        if isinstance(following, Child):
            yield following


class Then(Frozen):
    """The step that follows a pruning; `into` is None until its place is settled."""

    format: str
    epochs: int | None = None
    changes: tuple[str, ...] = ()
    limits: Budget = Budget()
    into: str | None = None

    @classmethod
    def of(cls, wish: Rounding, limits: Budget, into: Path | None) -> Then:
        place = None if into is None else into.as_posix()
        return cls(format=wish.format, epochs=wish.epochs, changes=tuple(wish.changes), limits=limits, into=place)


class Origin(Frozen):
    """Of a run that `snug compress` made: which run it is the smaller form of, and what is to follow."""

    source: str
    then: Then | None = None


def origin(run: Path) -> Origin | None:
    """None of a run that was not made so. Raises ArtifactError."""
    found = runs.compression(run)
    if not found:
        return None
    try:
        return Origin.parse(found)
    except ValidationError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"{run / runs.COMPRESSION}: damaged ({reason}); remove it, and compress {run} anew"
        ) from error


def rest(run: Path) -> Child | Path | None:
    """What follows a finished run on its way: a run to be trained, one that has begun, or nothing."""
    known = origin(run)
    if known is None or known.then is None:
        return None
    then, ended = known.then, Origin(source=known.source)
    if then.into and (Path(then.into) / "config.json").is_file() and origin(Path(then.into)) == ended:
        return Path(then.into)
    wish = Rounding(then.format, then.epochs, then.changes)
    made = rounding.child(run, wish, Path(then.into) if then.into else None, then.limits)
    _keep(run, Origin(source=known.source, then=then.model_copy(update={"into": made.path.as_posix()})))
    _keep(made.path, ended)
    return made


def _keep(run: Path, known: Origin) -> None:
    runs.save_compression(run, known.plain())


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
