"""The Markdown table that stands our results beside those that a paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from snugnet import recipe
from snugnet.recipe import Published
from snugnet.report.ledger import Entry, accuracy, mean_time, percents, rows, table_line
from snugnet.units import show_count

HEAD = "| recipe | paper's rank | n | test accuracy, % | points | ms | MB | parameters | epochs | time |"
RULE = "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
PAIRS = "Pairs are ours / the paper's. Points: our accuracy less the paper's. MB: parameters and buffers, over 2^20."


def table(entries: Sequence[Entry]) -> str:
    """The rows of the ledger's table, the most accurate first; below them what pairs and times mean."""
    prints = {name: recipe.load(name).experiment.published or Published() for name in recipe.builtin_names()}
    ordered = sorted(rows(entries), key=lambda runs: -fmean(percents(runs) or [0.0]))
    lines = [table_line(row(runs, prints)) for runs in ordered]
    return "\n".join([HEAD, RULE, *lines, "", PAIRS + protocols(ordered)]) + "\n"


def row(runs: Sequence[Entry], prints: Mapping[str, Published]) -> Sequence[str]:
    last = max(runs, key=lambda run: run.date)
    paper = prints.get(last.recipe, Published())
    theirs = None if paper.accuracy is None else 100 * paper.accuracy
    tested = percents(runs)
    points = "–" if theirs is None or not tested else f"{round(round(fmean(tested), 2) - theirs, 2) + 0.0:+.2f}"
    size_mb = next((run.size_mb for run in runs if run.size_mb is not None), None)
    times = [run.p50_ms for run in timed(runs) if run.p50_ms is not None]
    return (
        f"`{last.recipe}`", rank(last.recipe, prints), str(len(runs)), f"{accuracy(runs)} / {shown(theirs, '.2f')}",
        points, f"{shown(fmean(times) if times else None, '.3f')} / {shown(paper.ms, '.3f')}",
        f"{shown(size_mb, '.4f')} / {shown(paper.size_mb, 'g')}", show_count(last.params), str(last.epochs),
        mean_time(runs),
    )  # fmt: skip


def shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def rank(name: str, prints: Mapping[str, Published]) -> str:
    """Among the accuracies that the paper prints; two recipes of one published run share it."""
    paper = name.partition("/")[0]
    printed = {
        each.accuracy for other, each in prints.items() if other.startswith(f"{paper}/") and each.accuracy is not None
    }
    own = prints[name].accuracy if name in prints else None
    return "–" if own is None else str(1 + sum(each > own for each in printed))


def timed(runs: Sequence[Entry]) -> list[Entry]:
    """Those that were timed, all by the protocol of the last."""
    found = [run for run in runs if run.p50_ms is not None]
    return [run for run in found if run.latency == found[-1].latency]


def protocols(ordered: Sequence[Sequence[Entry]]) -> str:
    """How our times were measured, with the recipes where not all were measured alike; "" where there are none."""
    recipes: dict[str, list[str]] = {}
    for runs in ordered:
        for run in timed(runs)[-1:]:
            recipes.setdefault(run.latency, []).append(f"`{run.recipe}`")
    if not recipes:
        return ""
    if len(recipes) == 1:
        ours = next(iter(recipes))
    else:
        ours = "; ".join(f"{', '.join(names)}: {text}" for text, names in recipes.items())
    return f" Our ms: {ours}. The paper's are of its own machine."
