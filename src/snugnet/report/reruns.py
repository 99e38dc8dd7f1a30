"""The Markdown table of every published run: what the paper prints, what ours gave, or what it would take."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from statistics import fmean

from snugnet import budget, pipeline, recipe
from snugnet.recipe import Experiment
from snugnet.report.ledger import Entry, accuracy, mean_time, percents, rows, table_line
from snugnet.units import show_count, show_flops

HEAD = "| recipe | parameters | published, % | ours, % | points | n | epochs | time | hardware |"
RULE = "|---|--:|--:|--:|--:|--:|--:|--:|---|"
IMAGES, KEPT = 50_000, 0.9  # of CIFAR-10's training split, and the share that is left where val is taken from it
FLOPS = 6  # a MAC and image, forward and backward


def table(entries: Sequence[Entry], pattern: str) -> str:
    """All built-in recipes that match, those that were run first, the most accurate of each kind leading."""
    lines = []
    for name in recipe.builtin_names():
        experiment = recipe.load(name).experiment
        if fnmatchcase(name, pattern):
            runs = [found for found in rows(entries) if found[0].recipe == name]
            lines += [(1, _run(experiment, found)) for found in runs] or [(0, _not_run(experiment))]
    ordered = sorted(lines, key=lambda line: (line[0], line[1][2]), reverse=True)
    return "\n".join([HEAD, RULE, *(table_line(cells) for _, cells in ordered)]) + "\n"


def _printed(experiment: Experiment) -> float | None:
    return experiment.published.accuracy if experiment.published else None


def _published(experiment: Experiment) -> str:
    printed = _printed(experiment)
    return "–" if printed is None else f"{100 * printed:.2f}"


def _params(experiment: Experiment) -> str:
    return show_count(int(budget.measure(pipeline.planned_card(experiment), "params")))


def _run(experiment: Experiment, runs: Sequence[Entry]) -> Sequence[str]:
    last, tested = max(runs, key=lambda run: run.date), percents(runs)
    printed = _printed(experiment)
    points = f"{fmean(tested) - 100 * printed:+.2f}" if tested and printed is not None else "–"
    ran = f"{last.epochs} of {experiment.train.epochs}"
    return (
        f"`{last.recipe}`", _params(experiment), _published(experiment), accuracy(runs), points, str(len(runs)), ran,
        mean_time(runs), last.hardware,
    )  # fmt: skip


def _not_run(experiment: Experiment) -> Sequence[str]:
    ran = f"0 of {experiment.train.epochs}"
    return (
        f"`{experiment.name}`", _params(experiment), _published(experiment), "not run", "–", "0", ran,
        f"would take {show_flops(training_flops(experiment))}", "–",
    )  # fmt: skip


def training_flops(experiment: Experiment) -> float:
    """Of convolutions and linear layers over the whole training on CIFAR-10; SAM looks twice."""
    train, copies = experiment.train, experiment.data.extra_copies
    images = IMAGES * (1 if experiment.data.train_on == "all" else KEPT)
    if copies:
        images += len(copies.classes) * (copies.each or images / experiment.model.classes)
    macs = budget.measure(pipeline.planned_card(experiment), "macs")
    return FLOPS * macs * images * train.epochs * (2 if train.optimizer.sam else 1)
