"""How fast a run learned: by epoch, by second, by training FLOPs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from math import isfinite
from statistics import fmean, median
from typing import Any

from pydantic import ValidationError

from snugnet import budget
from snugnet.artifact import Card
from snugnet.compare.records import Record
from snugnet.config import Frozen
from snugnet.data.config import Normalization
from snugnet.errors import RecipeError
from snugnet.models.spec import ModelSpec

TARGETS = (0.80, 0.90, 0.94)
WINDOW = 5  # epochs that a moving average takes together
PASSES = 3  # forward once, backward as much again for the images and for the weights
Values = tuple[float | None, ...]
ESTIMATED = "its files do not say how many images an epoch had: images/s x seconds, which counts the judging of val too"
BY_AREA = "MACs at smaller images were taken in proportion to their pixels: its net runs only with --allow-code"
SAM = "SAM takes every gradient twice, and is counted so"
TAUGHT = "it learned from other nets; neither their training nor their passes over its images are counted"
WARM = "it began with the weights of another run, whose training is not counted"


class Curve(Frozen):
    """A run, epoch after epoch; each measure is null where it was not taken. `seconds` and `flops` are cumulative.

    `notes` say how the FLOPs depart from 3 x 2 x MACs x images seen, or were estimated.
    """

    path: str
    epoch: tuple[int, ...]
    seconds: tuple[float, ...]
    flops: tuple[float, ...]
    train_loss: Values
    val_loss: Values
    val_accuracy: Values
    notes: tuple[str, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Whether an epoch of it was judged on val."""
        return any(value is not None for value in self.val_accuracy)

    @property
    def total_flops(self) -> float | None:
        return self.flops[-1] if self.flops else None


class Reached(Frozen):
    """The first epoch that was at least so accurate on val, and the seconds until its end; null where none was."""

    target: float
    epochs: int | None = None
    seconds: float | None = None


class AtEqualFlops(Frozen):
    """A run after a number of training FLOPs; null where its first epoch is beyond them.

    Between the ends of two epochs, `epoch` has a fraction and val accuracy lies on the straight line between them.
    """

    path: str
    epoch: float | None = None
    flops: float | None = None
    val_accuracy: float | None = None


def curve(record: Record) -> Curve:
    """From metrics and configuration; empty for a shipped file."""
    lines = record.metrics
    images, estimated = images_by_epoch(lines)
    each, notes = flops_an_image(record, len(lines))
    return Curve(
        path=str(record.path),
        epoch=tuple(line["epoch"] for line in lines),
        seconds=tuple(accumulate(float(line["seconds"]) for line in lines)),
        flops=tuple(accumulate(seen * one for seen, one in zip(images, each, strict=True))),
        notes=((ESTIMATED,) if estimated else ()) + notes if lines else (),
        **{name: tuple(known(line[name]) for line in lines) for name in ("train_loss", "val_loss", "val_accuracy")},
    )


def known(value: float | None) -> float | None:
    """None as well for what is no number: a loss on val may overflow."""
    return float(value) if value is not None and isfinite(value) else None


def images_by_epoch(lines: Sequence[Mapping[str, Any]]) -> tuple[list[float], bool]:
    """Training images of each epoch, extra copies too, and whether they had to be estimated.

    A run from before they were written down has images/s of its training and seconds of training and judging. Every
    epoch has as many images, so the median of their products stands for all: one that was resumed has less.
    """
    if all(line.get("images") for line in lines):
        return [float(line["images"]) for line in lines], False
    return [median(line["images_per_second"] * line["seconds"] for line in lines)] * len(lines), True


def flops_an_image(record: Record, epochs: int) -> tuple[list[float], tuple[str, ...]]:
    """Mean training FLOPs of an image in each epoch: 3 x 2 x MACs, at the sizes that train.progressive shows."""
    train = record.config.get("train", {})
    notes = [WARM] * bool(train.get("init_from")) + [TAUGHT] * bool(record.config.get("distill"))
    gradients = 1
    if train.get("optimizer", {}).get("sam"):
        gradients = 2
        notes.append(SAM)
    steps, macs = train.get("progressive", []), {}
    for step in steps:
        macs[step["size"]], exact = macs_at(record, step["size"])
        if not exact and BY_AREA not in notes:
            notes.append(BY_AREA)
    shares = shares_by_epoch(steps, train.get("epochs", epochs), epochs)
    full = record.summary["macs"]
    means = [sum(share * (full if size is None else macs[size]) for size, share in own.items()) for own in shares]
    return [2.0 * PASSES * gradients * mean for mean in means], tuple(notes)


def shares_by_epoch(steps: Iterable[Mapping[str, Any]], planned: int, epochs: int) -> list[dict[int | None, float]]:
    """Which share of each epoch shows images of which size, None being full size; to a batch what the training does."""
    bounds: list[tuple[float, int | None]] = [(step["until"] * planned, step["size"]) for step in steps]
    bounds.append((float(max(planned, epochs)), None))
    shares = []
    for epoch in range(epochs):
        own: dict[int | None, float] = {}
        start = float(epoch)
        for until, size in bounds:
            if (end := min(until, epoch + 1.0)) > start:
                own[size] = own.get(size, 0.0) + end - start
                start = end
        shares.append(own)
    return shares


def macs_at(record: Record, size: int) -> tuple[float, bool]:
    """MACs of the run's net for an image of another size, and whether they were counted."""
    model = record.config["model"]
    try:
        return counted(json.dumps(model), size), True
    except (RecipeError, ValidationError):  # blocks of the user's own run only with permission; an older version's keys
        return record.summary["macs"] * (size / model["image_size"]) ** 2, False


@lru_cache(maxsize=256)  # the seeds of a group ask alike
def counted(model: str, size: int) -> float:
    spec = ModelSpec.model_validate_json(model).replaced(image_size=size)
    constants = Normalization(mean=(0.0,) * spec.in_channels, std=(1.0,) * spec.in_channels)
    card = Card(model=spec, classes=tuple(map(str, range(spec.classes))), normalization=constants)
    return budget.measure(card, "macs")


def moving_average(values: Sequence[float | None], window: int = WINDOW) -> Values:
    """The mean of each epoch and as many before as behind it, `window` in all and fewer at the ends.

    So it does not lag, and ends where the run ends. Null where there is no value.
    """
    found: list[float | None] = []
    for place, value in enumerate(values):
        reach = min(window // 2, place, len(values) - 1 - place)
        own = [each for each in values[place - reach : place + reach + 1] if each is not None]
        found.append(None if value is None else fmean(own))
    return tuple(found)


def first_to_reach(run: Curve, targets: Sequence[float] = TARGETS) -> tuple[Reached, ...]:
    found = []
    for target in targets:
        pairs = zip(run.epoch, run.seconds, run.val_accuracy, strict=True)
        first = next(((epoch, s) for epoch, s, value in pairs if value is not None and value >= target), None)
        epochs, seconds = first or (None, None)
        found.append(Reached(target=target, epochs=epochs, seconds=seconds))
    return tuple(found)


def common_flops(runs: Sequence[Curve]) -> float | None:
    """The largest training FLOPs that all runs reached; None where none has any."""
    totals = [run.flops[-1] for run in runs if run.flops]
    return min(totals) if totals else None


def at_flops(run: Curve, flops: float) -> AtEqualFlops:
    """What the run was worth on val with so much spent.

    A net a little dearer than another ends its last epoch just beyond what the other spent: the epoch before would
    stand in its place, and the difference would be one of schedules.
    """
    allowed = flops * (1 + 1e-9)
    rows = zip(run.epoch, run.flops, run.val_accuracy, strict=True)
    ends = [(epoch, spent, value) for epoch, spent, value in rows if value is not None]
    inside = [end for end in ends if end[1] <= allowed]
    if not inside:
        return AtEqualFlops(path=run.path)
    epoch, spent, value = inside[-1]
    if len(inside) == len(ends):
        return AtEqualFlops(path=run.path, epoch=epoch, flops=spent, val_accuracy=value)
    later, beyond, then = ends[len(inside)]
    share = max(0.0, flops - spent) / (beyond - spent)
    return AtEqualFlops(
        path=run.path,
        epoch=epoch + share * (later - epoch),
        flops=spent + share * (beyond - spent),
        val_accuracy=value + share * (then - value),
    )
