"""The Markdown table of what the papers claim: differences between two recipes, and what the ledger says of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, variance

from scipy import special

from snugnet import recipe
from snugnet.config import Frozen
from snugnet.errors import DataError
from snugnet.problems import nearest
from snugnet.report.ledger import Entry, percents, read_list, rows, table_line

HEAD = "| paper | says | theirs, points | ours, points | 95 % interval | n | verdict |"
RULE = "|---|---|--:|--:|--:|--:|---|"
IMAGES = 10_000  # of CIFAR-10's test split
LEVEL = 0.95


class Claim(Frozen):
    paper: str
    says: str
    better: str
    worse: str
    points: float


class Claims(Frozen):
    claim: tuple[Claim, ...]


def read(path: Path) -> tuple[Claim, ...]:
    """Raises DataError."""
    claims = read_list(path, Claims).claim
    known = recipe.builtin_names()
    for name in (name for claim in claims for name in (claim.better, claim.worse)):
        if name not in known:
            raise DataError(f"{path}: {name}: no such recipe{nearest(name, known)}")
    return claims


def table(claims: Sequence[Claim], entries: Sequence[Entry]) -> str:
    tested = {runs[0].recipe: percents(runs) for runs in rows(entries)}
    lines = [table_line(row(claim, tested.get(claim.better, []), tested.get(claim.worse, []))) for claim in claims]
    return "\n".join([HEAD, RULE, *lines]) + "\n"


def row(claim: Claim, better: Sequence[float], worse: Sequence[float]) -> Sequence[str]:
    theirs = f"{claim.points:+.2f}"
    if not better or not worse:
        lacking = [name for name, runs in ((claim.better, better), (claim.worse, worse)) if not runs]
        return claim.paper, claim.says, theirs, "–", "–", "0", f"not run: {', '.join(f'`{name}`' for name in lacking)}"
    effect = fmean(better) - fmean(worse)
    reach = half_width(better, worse)
    verdict = "holds" if effect > reach else "fails" if effect < -reach else "undecided"
    interval = f"{effect - reach:+.2f} to {effect + reach:+.2f}"
    seeds = str(len(better)) if len(better) == len(worse) else f"{len(better)}, {len(worse)}"
    return claim.paper, claim.says, theirs, f"{effect:+.2f}", interval, seeds, verdict


def half_width(one: Sequence[float], other: Sequence[float]) -> float:
    """Of the interval of a difference of means, in points: Welch's over seeds; of one seed each, that of the images
    alone, which knows nothing of the luck of seeds."""
    if len(one) == 1 or len(other) == 1:
        shares = [fmean(values) / 100 for values in (one, other)]
        spread = math.sqrt(sum(share * (1 - share) / IMAGES for share in shares))
        return float(100 * special.ndtri((1 + LEVEL) / 2) * spread)
    parts = [variance(values) / len(values) for values in (one, other)]
    if not sum(parts):
        return 0.0
    freedom = sum(parts) ** 2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (one, other), strict=True))
    return float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(sum(parts))
