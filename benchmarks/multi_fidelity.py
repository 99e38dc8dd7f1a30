"""Epochs until a search has found what there is to find: rungs beside plain TPE and TPE + Hyperband, on a known front.

    python benchmarks/multi_fidelity.py [--seeds 10] [--most 5400] [--rungs 1,3,9,27] [--keep 0.3333] [--methods NAMES]
    python benchmarks/multi_fidelity.py --table LINES.jsonl ...

Nothing is trained: accuracy is a formula of the design (width, depth, block), its learning rate and the epochs, so that
the true front is known. Large nets begin more slowly, so curves cross; every reading has noise, most in early epochs.

Several objectives: accuracy up, parameters down. What a search has found are the designs that it trained to the last
epoch, at their true values (without noise); the measure is their hypervolume over the true front's, accuracy above 0.5
and log10 of parameters below the largest net's. Told are the epochs trained until it is 99 %. A search that does not
come so far in --most epochs counts as if it had just then.
One objective: accuracy under 300,000 parameters, until a design is found that is truly within 0.2 points of the best.

What trains on in `rungs` and `rungs+tpe` is said by snugnet.search.rungs. What begins is proposed in `rungs` by
evolution: a change of a design in the best fronts of the highest rung that has enough results; in `rungs+tpe` by
Optuna's TPE, which is shown the results of that rung (BOHB, Falkner et al. 2018). Beside them stand plain `tpe`, which
trains every design to the end, `evolution`, which does too, and for one objective `hyperband`, Optuna's pruner.
Prints a JSON line for each search and a table; with --table the table of lines that earlier calls printed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna

from snugnet.search import rungs as halving

WIDTHS, DEPTHS, BLOCKS = tuple(range(8, 257, 8)), tuple(range(1, 9)), ("basic", "single", "depthwise", "bottleneck")
RATES = (0.01, 1.0)
EFFECT = {"basic": 1.0, "single": 0.85, "depthwise": 3.2, "bottleneck": 1.5}  # of a parameter, beside one of basic
COST = {"basic": 18.0, "single": 9.0, "depthwise": 1.2, "bottleneck": 1.1}  # parameters / width^2 of a block
BEST_RATE = {"basic": 0.1, "single": 0.2, "depthwise": 0.05, "bottleneck": 0.15}
FLOOR, ENOUGH, CAP, CLOSE = 0.5, 0.99, 300_000, 0.002
EPOCHS = 27
LEAST = 8  # results that a rung needs before TPE is shown it

Values = tuple[float, ...]
Search = Callable[["Goal", int, int, halving.Rungs], int]  # epochs spent
Point = tuple[float, float]  # true accuracy, -log10 of parameters


@dataclass(frozen=True)
class Design:
    width: int
    depth: int
    block: str
    rate: float

    @property
    def params(self) -> float:
        return 3 * COST[self.block] * self.depth * self.width**2 / 2 + 40 * self.width

    @property
    def limit(self) -> float:
        """Accuracy after endless training: a power law of useful parameters, less what shape and rate cost."""
        useful = EFFECT[self.block] * self.params
        shape = 0.012 * (math.log2(self.depth) - 0.5 * math.log2(self.width / 8)) ** 2
        rate = 0.06 * math.log10(self.rate / BEST_RATE[self.block]) ** 2
        return 0.98 - 0.45 * (useful / 2_000) ** -0.33 - shape - rate

    def accuracy(self, epochs: int) -> float:
        slowness = 0.25 * (self.params / 10_000) ** 0.4 * (1 + 0.1 * self.depth)
        return max(0.1, self.limit - (self.limit - 0.1) * (1 + epochs / slowness) ** -1.2)

    def seen(self, epochs: int, noise: np.random.Generator) -> float:
        return self.accuracy(epochs) + float(noise.normal(0, 0.003 + 0.012 / math.sqrt(epochs)))


def every() -> Iterator[Design]:
    """The best rate of a block is that of every design of it, so that the true front needs no other."""
    for block in BLOCKS:
        yield from (Design(width, depth, block, BEST_RATE[block]) for width in WIDTHS for depth in DEPTHS)


def point(design: Design) -> Point:
    return design.accuracy(EPOCHS), -math.log10(design.params)


SMALLEST = -math.log10(max(design.params for design in every()))


def hypervolume(points: list[Point]) -> float:
    total, reached = 0.0, SMALLEST
    for accuracy, small in sorted(points, reverse=True):
        if accuracy > FLOOR and small > reached:
            total += (accuracy - FLOOR) * (small - reached)
            reached = small
    return total


@dataclass
class Goal:
    """Whether a search has found enough, and what its trials are judged by."""

    several: bool
    found: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        points = [point(design) for design in every()]
        self.whole = hypervolume(points)
        self.best = max(accuracy for accuracy, small in points if small >= -math.log10(CAP))

    def allows(self, design: Design) -> bool:
        return self.several or design.params <= CAP

    def values(self, design: Design, accuracy: float) -> Values:
        return (accuracy, -math.log10(design.params)) if self.several else (accuracy,)

    def add(self, design: Design) -> None:
        self.found.append(point(design))

    @property
    def share(self) -> float:
        return hypervolume(self.found) / self.whole if self.several else max((p[0] for p in self.found), default=0.0)

    @property
    def is_met(self) -> bool:
        return self.share >= (ENOUGH if self.several else self.best - CLOSE)


def study(goal: Goal, seed: int, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    directions = ["maximize"] * (2 if goal.several else 1)
    sampler = optuna.samplers.TPESampler(seed=seed)
    return optuna.create_study(directions=directions, sampler=sampler, pruner=pruner or optuna.pruners.NopPruner())


def propose(trial: optuna.Trial) -> Design:
    return Design(
        WIDTHS[trial.suggest_int("width", 0, len(WIDTHS) - 1)],
        trial.suggest_int("depth", DEPTHS[0], DEPTHS[-1]),
        trial.suggest_categorical("block", BLOCKS),
        trial.suggest_float("rate", *RATES, log=True),
    )


def fresh(made: optuna.Study, goal: Goal) -> tuple[optuna.Trial, Design]:
    """A design within the budget: those over it are told as useless, untrained, and cost no epochs."""
    for _ in range(100):
        trial = made.ask()
        design = propose(trial)
        if goal.allows(design):
            return trial, design
        made.tell(trial, goal.values(design, 0.0))
    raise AssertionError("no design is within the budget")


def tpe(goal: Goal, seed: int, most: int, _plan: halving.Rungs) -> int:
    made, noise, spent = study(goal, seed), np.random.default_rng(seed), 0
    while spent < most and not goal.is_met:
        trial, design = fresh(made, goal)
        made.tell(trial, goal.values(design, design.seen(EPOCHS, noise)))
        spent += EPOCHS
        goal.add(design)
    return spent


def hyperband(goal: Goal, seed: int, most: int, _plan: halving.Rungs) -> int:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3)
    made, noise, spent = study(goal, seed, pruner), np.random.default_rng(seed), 0
    while spent < most and not goal.is_met:
        trial, design = fresh(made, goal)
        for epoch in range(1, EPOCHS + 1):
            spent += 1
            trial.report(design.seen(epoch, noise), epoch)
            if trial.should_prune():
                made.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            made.tell(trial, design.seen(EPOCHS, noise))
            goal.add(design)
    return spent


class Proposer(Protocol):
    def propose(self, results: Mapping[int, Sequence[Values]], designs: Sequence[Design]) -> Design: ...

    def learn(self, number: int, rung: int, values: Values) -> None: ...


def enough(results: Mapping[int, Sequence[Values]], rungs: int) -> int:
    """The highest rung with results enough to learn from."""
    counts = [sum(len(seen) > rung for seen in results.values()) for rung in range(rungs)]
    return max((rung for rung, count in enumerate(counts) if count >= LEAST), default=0)


class Evolution:
    """A change of one of the best designs so far: two of its four numbers, small steps more often than large ones."""

    def __init__(self, goal: Goal, seed: int, plan: halving.Rungs) -> None:
        self.goal, self.rungs, self.draw = goal, len(plan.epochs), random.Random(seed)

    def propose(self, results: Mapping[int, Sequence[Values]], designs: Sequence[Design]) -> Design:
        rung = enough(results, self.rungs)
        there = [number for number, seen in results.items() if len(seen) > rung]
        while True:
            if len(there) < LEAST:
                design = self._random()
            else:
                order = halving.ranked([results[number][rung] for number in there], max(4, len(there) // 5))
                design = self._changed(designs[there[self.draw.choice(order)]])
            if self.goal.allows(design) and design not in designs:
                return design

    def learn(self, number: int, rung: int, values: Values) -> None:
        """It reads what it needs from the results."""

    def _random(self) -> Design:
        low, high = map(math.log, RATES)
        rate = math.exp(self.draw.uniform(low, high))
        return Design(self.draw.choice(WIDTHS), self.draw.choice(DEPTHS), self.draw.choice(BLOCKS), rate)

    def _changed(self, parent: Design) -> Design:
        new = dict(vars(parent))
        for name in self.draw.sample(sorted(new), 2):
            if name == "block":
                new[name] = self.draw.choice(BLOCKS)
            elif name == "rate":
                new[name] = min(max(new[name] * math.exp(self.draw.gauss(0, 0.4)), RATES[0]), RATES[1])
            elif name == "depth":
                new[name] = min(max(new[name] + self.draw.choice((-2, -1, 1, 2)), DEPTHS[0]), DEPTHS[-1])
            else:
                width = 8 * round(new[name] * math.exp(self.draw.gauss(0, 0.4)) / 8)
                new[name] = min(max(width, WIDTHS[0]), WIDTHS[-1])
        return Design(**new)


class Tpe:
    """One study a rung: what is asked comes from the highest that has results enough."""

    def __init__(self, goal: Goal, seed: int, plan: halving.Rungs) -> None:
        self.goal, self.studies = goal, [study(goal, seed) for _ in plan.epochs]
        self.given: list[optuna.Trial] = []

    def propose(self, results: Mapping[int, Sequence[Values]], designs: Sequence[Design]) -> Design:  # noqa: ARG002
        asked = self.studies[enough(results, len(self.studies))]
        trial, design = fresh(asked, self.goal)
        asked.tell(trial, state=optuna.trial.TrialState.FAIL)
        self.given.append(trial)
        return design

    def learn(self, number: int, rung: int, values: Values) -> None:
        trial = self.given[number]
        known = optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, values=list(values))
        self.studies[rung].add_trial(known)


def with_rungs(proposer: Callable[[Goal, int, halving.Rungs], Proposer]) -> Search:
    def search(goal: Goal, seed: int, most: int, plan: halving.Rungs) -> int:
        proposes, noise, spent = proposer(goal, seed, plan), np.random.default_rng(seed), 0
        designs: list[Design] = []
        results: dict[int, list[Values]] = {}
        while spent < most and not goal.is_met:
            owed = plan.rung_ready(results)
            number, rung = owed[0] if owed else (len(designs), 0)
            if not owed:
                designs.append(proposes.propose(results, designs))
                results[number] = []
            spent += plan.epochs[rung] - (plan.epochs[rung - 1] if rung else 0)
            seen = goal.values(designs[number], designs[number].seen(plan.epochs[rung], noise))
            results[number].append(seen)
            proposes.learn(number, rung, seen)
            if rung == len(plan.epochs) - 1:
                goal.add(designs[number])
        return spent

    return search


def evolution(goal: Goal, seed: int, most: int, _plan: halving.Rungs) -> int:
    return with_rungs(Evolution)(goal, seed, most, halving.Rungs((EPOCHS,), 0.5))


METHODS: dict[str, Search] = {
    "tpe": tpe,
    "hyperband": hyperband,
    "evolution": evolution,
    "rungs": with_rungs(Evolution),
    "rungs+tpe": with_rungs(Tpe),
}


def table(lines: list[dict[str, Any]]) -> None:
    """Each method beside plain TPE of the same seeds."""
    print(
        "| objectives | method | seeds | median epochs | of plain TPE's, median of pairs | of sums "
        "| reached, median | short |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for objectives in ("several", "one"):
        by_method: dict[str, dict[int, dict[str, Any]]] = {}
        for line in lines:
            if line["objectives"] == objectives:
                by_method.setdefault(line["method"], {})[line["seed"]] = line
        plain = by_method.get("tpe", {})
        for method, found in by_method.items():
            pairs = [(line["epochs"], plain[seed]["epochs"]) for seed, line in found.items() if seed in plain]
            ratio = of_sums = "–"
            if pairs:
                ratio = f"{100 * statistics.median(mine / its for mine, its in pairs):.0f} % (n={len(pairs)})"
                of_sums = f"{100 * sum(mine for mine, _ in pairs) / sum(its for _, its in pairs):.0f} %"
            median = statistics.median(line["epochs"] for line in found.values())
            short = sum(not line["met"] for line in found.values())
            print(
                f"| {objectives} | {method} | {len(found)} | {median:,.0f} | {ratio} | {of_sums} "
                f"| {statistics.median(line['reached'] for line in found.values()):.4f} | {short} of {len(found)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--most", type=int, default=5_400, help="epochs after which a search counts as short")
    parser.add_argument("--rungs", default="1,3,9,27", help="epochs of each rung, the last being 27")
    parser.add_argument("--keep", type=float, default=1 / 3)
    parser.add_argument("--objectives", choices=("both", "one", "several"), default="both")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--table", nargs="+", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.table:
        text = "\n".join(Path(name).read_text() for name in arguments.table)
        return table([json.loads(line) for line in text.splitlines() if line.startswith("{")])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    plan = halving.Rungs(tuple(map(int, arguments.rungs.split(","))), arguments.keep)
    lines = []
    several_first = {"both": (True, False), "one": (False,), "several": (True,)}[arguments.objectives]
    for several, seed, method in product(several_first, range(arguments.seeds), arguments.methods):
        if several and method == "hyperband":
            continue  # Optuna's pruners are for one objective
        goal, used = Goal(several), time.process_time()
        epochs = METHODS[method](goal, seed, arguments.most, plan)
        lines.append(
            {
                "objectives": "several" if several else "one",
                "method": method,
                "seed": seed,
                "epochs": epochs,
                "met": goal.is_met,
                "reached": round(goal.share, 4),
                "processor_s": round(time.process_time() - used, 2),
                "most": arguments.most,
                "rungs": list(plan.epochs),
                "keep": round(plan.keep, 4),
                "optuna": optuna.__version__,
            }
        )
        print(json.dumps(lines[-1]), flush=True)
    return table(lines)


if __name__ == "__main__":
    main()
