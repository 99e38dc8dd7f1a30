"""Epochs until a search has found what there is to find: rungs beside plain TPE and TPE + Hyperband, on a known front.

    python benchmarks/multi_fidelity.py [--seeds 10] [--most 5400] [--rungs 1,3,9,27] [--keep 0.3333]

Nothing is trained: accuracy is a formula of the design (width, depth, block), its learning rate and the epochs, so that
the true front is known. Large nets begin more slowly, so curves cross; every reading has noise, most in early epochs.

Several objectives: accuracy up, parameters down. What a search has found are the designs that it trained to the last
epoch, at their true values (without noise); the measure is their hypervolume over the true front's, accuracy above 0.5
and log10 of parameters below the largest net's. Told are the epochs trained until it is 99 %. A search that does not
come so far in --most epochs counts as if it had just then.
One objective: accuracy under 300,000 parameters, until a design is found that is truly within 0.2 points of the best.

`rungs` is snugnet.search.rungs; what it trains is proposed by Optuna's TPE, which is shown the results of the highest
rung that has enough of them (BOHB, Falkner et al. 2018). `tpe` trains every design to the end; `hyperband` is Optuna's
pruner, for one objective only. Prints a JSON line a method and a table.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

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

    def values(self, design: Design, accuracy: float) -> tuple[float, ...]:
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
    """A design within the budget: those over it are refused before they are trained, and cost nothing."""
    for _ in range(100):
        trial = made.ask()
        design = propose(trial)
        if goal.allows(design):
            return trial, design
        made.tell(trial, state=optuna.trial.TrialState.FAIL)
    raise AssertionError("no design is within the budget")


def tpe(goal: Goal, seed: int, most: int) -> int:
    made, noise, spent = study(goal, seed), np.random.default_rng(seed), 0
    while spent < most and not goal.is_met:
        trial, design = fresh(made, goal)
        made.tell(trial, goal.values(design, design.seen(EPOCHS, noise)))
        spent += EPOCHS
        goal.add(design)
    return spent


def hyperband(goal: Goal, seed: int, most: int) -> int:
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


def by_rungs(goal: Goal, seed: int, most: int, plan: halving.Rungs) -> int:
    """One study a rung: what is asked comes from the highest that has results enough."""
    studies = [study(goal, seed) for _ in plan.epochs]
    noise, spent = np.random.default_rng(seed), 0
    designs: list[Design] = []
    results: dict[int, list[tuple[float, ...]]] = {}
    given: list[dict[str, Any]] = []
    distributions: dict[str, Any] = {}
    while spent < most and not goal.is_met:
        owed = plan.rung_ready(results)
        if owed:
            number, rung = owed[0]
        else:
            counts = [sum(len(seen) > rung for seen in results.values()) for rung in range(len(plan.epochs))]
            shown = max((rung for rung, count in enumerate(counts) if count >= LEAST), default=0)
            trial, design = fresh(studies[shown], goal)
            given.append(trial.params)
            distributions = trial.distributions
            studies[shown].tell(trial, state=optuna.trial.TrialState.FAIL)
            number, rung = len(designs), 0
            designs.append(design)
            results[number] = []
        spent += plan.epochs[rung] - (plan.epochs[rung - 1] if rung else 0)
        seen = goal.values(designs[number], designs[number].seen(plan.epochs[rung], noise))
        results[number].append(seen)
        studies[rung].add_trial(
            optuna.trial.create_trial(params=given[number], distributions=distributions, values=list(seen))
        )
        if rung == len(plan.epochs) - 1:
            goal.add(designs[number])
    return spent


def measure(name: str, search: Callable[[Goal, int, int], int], several: bool, seeds: int, most: int) -> dict[str, Any]:
    started, spent, shares = time.perf_counter(), [], []
    for seed in range(seeds):
        goal = Goal(several)
        spent.append(search(goal, seed, most))
        shares.append(goal.share)
    return {
        "objectives": "accuracy, parameters" if several else "accuracy",
        "method": name,
        "seeds": seeds,
        "epochs": spent,
        "median_epochs": statistics.median(spent),
        "short": sum(each >= most for each in spent),
        "least_share": round(min(shares), 4),
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--most", type=int, default=5_400, help="epochs after which a search counts as short")
    parser.add_argument("--rungs", default="1,3,9,27", help="epochs of each rung, the last being 27")
    parser.add_argument("--keep", type=float, default=1 / 3)
    parser.add_argument("--objectives", choices=("both", "one", "several"), default="both")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    plan = halving.Rungs(tuple(map(int, arguments.rungs.split(","))), arguments.keep)

    def ours(goal: Goal, seed: int, most: int) -> int:
        return by_rungs(goal, seed, most, plan)

    rows = []
    for several in {"both": (True, False), "one": (False,), "several": (True,)}[arguments.objectives]:
        methods = {"tpe": tpe, "rungs": ours} if several else {"tpe": tpe, "hyperband": hyperband, "rungs": ours}
        own = [measure(name, search, several, arguments.seeds, arguments.most) for name, search in methods.items()]
        for row in own:
            pairs = zip(row["epochs"], own[0]["epochs"], strict=True)
            row["ratio"] = round(statistics.median(mine / its for mine, its in pairs), 3)
            row["of_sums"] = round(sum(row["epochs"]) / sum(own[0]["epochs"]), 3)
            print(json.dumps({**row, "optuna": optuna.__version__, "python": platform.python_version()}), flush=True)
        rows += own
    print(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    print("| objectives | method | median epochs | of plain TPE's, median of pairs | of sums | short of the goal | s |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['objectives']} | {row['method']} | {row['median_epochs']:,.0f} | {100 * row['ratio']:.0f} % "
            f"| {100 * row['of_sums']:.0f} % | {row['short']} of {row['seeds']} | {row['seconds']} |"
        )


if __name__ == "__main__":
    main()
