"""Which point comes next. A method remembers nothing: it is asked with the number of the trial and all that is known.

So whichever worker asks gets the same answer, and a study that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snugnet.budget import MEASURES
from snugnet.search.extra import needed
from snugnet.search.space import Axis, Point
from snugnet.search.store import Trial
from snugnet.search.study import UP, Study

WORST = {"accuracy": 0.0}  # what a training that diverged is worth
FEWEST = 8  # trials from which importances are more than chance
SLOWEST_MS = 1e6  # and a net that was never timed


@dataclass(frozen=True)
class Known:
    """A trial and what its training gave, as far as a method may know it. `values` None: not there yet."""

    trial: Trial
    values: Mapping[str, float] | None
    failed: bool = False


@dataclass(frozen=True)
class Proposal:
    point: Point
    memory: dict[str, Any] = field(default_factory=dict)


def propose(study: Study, number: int, known: Sequence[Known]) -> Proposal | None:
    """The point of that number; None where a grid has no more."""
    method = study.config.method
    kind = method.designs if method.name == "rungs" else method.name
    if kind == "grid":
        return Proposal(study.grid[number]) if number < len(study.grid) else None
    if kind == "random" or (kind == "tpe" and number < method.startup):
        return Proposal(study.space.drawn(study.config.seed, number))
    return _asked(study, number, known)


def _asked(study: Study, number: int, known: Sequence[Known]) -> Proposal:
    """What Optuna's sampler says, told afresh of all trials."""
    optuna = needed("optuna")
    with _quiet(optuna):
        replica = _replica(optuna, study, known, _sampler(optuna, study, number))
        trial = replica.ask()
        point = study.space.walk(lambda axis: _suggested(trial, axis))
        return Proposal(point, _kept(replica.get_trials(deepcopy=False)[-1].system_attrs))


def importances(study: Study, known: Sequence[Known]) -> dict[str, float]:
    """How much of what the trials differ in, in the first objective, each key accounts for (fANOVA); they sum to 1.

    Of keys that all designs have; empty while there are too few to say.
    """
    optuna = needed("optuna")
    trained = [each for each in known if each.values is not None and each.trial.state == "open"]
    first = study.config.objectives[0]
    if len(trained) < FEWEST or len({each.values[first] for each in trained if each.values is not None}) < 2:
        return {}
    with _quiet(optuna):
        replica = _replica(optuna, study, trained, optuna.samplers.RandomSampler(seed=0))
        judge = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(replica, evaluator=judge, target=lambda trial: trial.values[0])
    return {key: float(share) for key, share in found.items()}


def _replica(optuna: Any, study: Study, known: Sequence[Known], sampler: Any) -> Any:
    directions = ["maximize" if name in UP else "minimize" for name in study.config.objectives]
    replica = optuna.create_study(directions=directions, sampler=sampler)
    replica.add_trials([_told(optuna, study, each) for each in known])
    return replica


def _sampler(optuna: Any, study: Study, number: int) -> Any:
    """One draw of each number: the seed stands for both."""
    method, samplers = study.config.method, optuna.samplers
    seed = (study.config.seed * 1_000_003 + number) % 2**32
    if method.name == "nsga2":
        return samplers.NSGAIISampler(population_size=method.population, seed=seed)
    return samplers.TPESampler(n_startup_trials=method.startup, multivariate=True, group=True, seed=seed)


def _kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What the sampler wants to find at the trial later: the generation that it belongs to."""
    return {name: value for name, value in attributes.items() if name.endswith(":generation")}


def _told(optuna: Any, study: Study, known: Known) -> Any:
    """A trial as Optuna knows it. One that is over the budget has what it costs, and how far it is over."""
    states, trial = optuna.trial.TrialState, known.trial
    shared = {
        "params": {axis.key: _encoded(axis, trial.point[axis.key]) for axis in _active(study, trial.point)},
        "distributions": {axis.key: _distribution(optuna, axis) for axis in _active(study, trial.point)},
        "system_attrs": trial.memory,
    }
    if trial.state == "invalid":
        return optuna.trial.create_trial(state=states.FAIL, **shared)
    if known.values is None and trial.state != "over" and not known.failed:
        return optuna.trial.create_trial(state=states.RUNNING, **shared)
    values = [_value(name, known) for name in study.config.objectives]
    limits = study.budget.limits() | dict(study.budget.floor or {})
    constraints = {name: abs(trial.excess.get(name, 0.0)) / limits[name] for name in limits}
    return optuna.trial.create_trial(state=states.COMPLETE, values=values, constraints=constraints, **shared)


def _value(name: str, known: Known) -> float:
    if known.values is not None and name in known.values:
        return known.values[name]
    return known.trial.costs[name] if name in MEASURES else WORST.get(name, SLOWEST_MS)


def _active(study: Study, point: Point) -> list[Axis]:
    return [axis for axis in study.space.axes if axis.key in point]


def _distribution(optuna: Any, axis: Axis) -> Any:
    """Values stand for their places, so that lists and tables are choices too; numbers keep their order."""
    kinds, low, high = optuna.distributions, axis.dimension.start, axis.dimension.to
    if axis.values is None:
        return kinds.FloatDistribution(low, high, log=axis.dimension.log)
    if isinstance(axis.values, range) and axis.dimension.log:
        return kinds.IntDistribution(low, high, log=True)
    places = range(len(axis.values))
    return kinds.IntDistribution(0, places[-1]) if axis.is_ordered else kinds.CategoricalDistribution(places)


def _is_itself(axis: Axis) -> bool:
    """Whether a value stands for itself, not for its place."""
    return axis.values is None or (isinstance(axis.values, range) and axis.dimension.log)


def _encoded(axis: Axis, value: Any) -> Any:
    return value if _is_itself(axis) or axis.values is None else list(axis.values).index(value)


def _suggested(trial: Any, axis: Axis) -> Any:
    optuna = needed("optuna")
    found = trial._suggest(axis.key, _distribution(optuna, axis))
    return found if _is_itself(axis) or axis.values is None else axis.values[found]


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna's words on experimental features are for its developers."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
