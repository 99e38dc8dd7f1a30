"""What corruptions cost a net: its accuracy under each at each strength, and in the mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from torch import Tensor, nn

from snugnet.config import Frozen
from snugnet.data.loader import Change, EvalLoader
from snugnet.device import Compute
from snugnet.evaluate.corrupt import CORRUPTIONS, FAMILIES, STRENGTHS, corrupt
from snugnet.evaluate.metrics import accuracy
from snugnet.evaluate.predict import predict


class UnderCorruption(Frozen):
    """`accuracy` by strength, 1 to 5; `relative_drop` of their mean against the clean images."""

    name: str
    family: str
    accuracy: tuple[float, ...]
    mean: float
    relative_drop: float


class Robustness(Frozen):
    """`mean` is over corruptions, `mean_over_families` over the means of families: four kinds of noise count as one."""

    images: int
    clean: float
    mean: float
    relative_drop: float
    mean_over_families: float
    families: dict[str, float]
    corruptions: tuple[UnderCorruption, ...]


@dataclass(frozen=True)
class Judged:
    """How far a judging is: `done` of `total` pairs of corruption and strength, the last one `name`'s."""

    name: str
    done: int
    total: int
    images: int


Watch = Callable[[Judged], None]


def robustness(
    model: nn.Module,
    loader: Callable[[Change], EvalLoader],
    compute: Compute,
    labels: Tensor,
    *,
    clean: float,
    names: Sequence[str],
    watch: Watch,
) -> Robustness:
    """One pass of the images for each corruption at each strength. `loader` gives them under a change."""
    total = len(names) * len(STRENGTHS)
    found: list[UnderCorruption] = []
    watch(Judged("", 0, total, len(labels)))
    for name in names:
        seen = []
        for strength in STRENGTHS:
            logits = predict(model, loader(partial(corrupt, name=name, strength=strength)), compute)
            seen.append(accuracy(logits.cpu(), labels))
            watch(Judged(name, len(found) * len(STRENGTHS) + strength, total, len(labels)))
        found.append(_under(name, seen, clean))
    return summed(found, len(labels), clean)


def summed(found: Sequence[UnderCorruption], images: int, clean: float) -> Robustness:
    """The means over corruptions and over families."""
    mean = fmean(each.mean for each in found)
    families = {
        family: fmean(each.mean for each in found if each.family == family)
        for family in FAMILIES
        if any(each.family == family for each in found)
    }
    return Robustness(
        images=images,
        clean=clean,
        mean=mean,
        relative_drop=_drop(mean, clean),
        mean_over_families=fmean(families.values()),
        families=families,
        corruptions=tuple(found),
    )


def _under(name: str, seen: Sequence[float], clean: float) -> UnderCorruption:
    mean = fmean(seen)
    return UnderCorruption(
        name=name,
        family=CORRUPTIONS[name].family,
        accuracy=tuple(seen),
        mean=mean,
        relative_drop=_drop(mean, clean),
    )


def _drop(mean: float, clean: float) -> float:
    """0 for a net that is never right on clean images."""
    return (clean - mean) / clean if clean else 0.0
