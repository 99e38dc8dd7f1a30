"""What a study has come to: read from its storage, written nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from snugnet.budget import show
from snugnet.errors import OverBudget
from snugnet.search.methods import Known
from snugnet.search.rungs import fronts
from snugnet.search.store import Job, Store, Trial, pending
from snugnet.search.study import UP, Study

REFUSED = 200  # designs in a row that do not fit: then the search gives up


@dataclass(frozen=True)
class Progress:
    """All trials and jobs of a study at one moment."""

    study: Study
    trials: Sequence[Trial]
    jobs: Sequence[Job]

    @classmethod
    def read(cls, study: Study, store: Store) -> Progress:
        trials = store.trials()
        return cls(study, trials, store.jobs())  # in this order: a job's trial is there

    @cached_property
    def jobs_of(self) -> dict[int, list[Job]]:
        """By trial, by rung."""
        found: dict[int, list[Job]] = {trial.number: [] for trial in self.trials}
        for job in self.jobs:
            found.setdefault(job.trial, []).append(job)
        return found

    def jobs_for(self, trial: Trial) -> list[Job]:
        """Its own, or those of the trial that it is the same as."""
        return self.jobs_of[trial.number if trial.same_as is None else trial.same_as]

    def vector(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """Objectives, all to be maximised."""
        return tuple(values[name] if name in UP else -values[name] for name in self.study.config.objectives)

    @cached_property
    def finished(self) -> dict[int, Mapping[str, float]]:
        """Values of the trials that were trained to the last rung, those that are the same as another left out."""
        last = len(self.study.rung_epochs) - 1
        return {job.trial: job.values for job in self.jobs if job.state == "done" and job.rung == last}

    @cached_property
    def front(self) -> list[int]:
        """Numbers of the finished trials that no other beats in all objectives, the most accurate first."""
        numbers = sorted(self.finished)
        vectors = [self.vector(self.finished[number]) for number in numbers]
        first = fronts(vectors)[0] if vectors else []
        return [numbers[place] for place in sorted(first, key=lambda place: tuple(-v for v in vectors[place]))]

    @property
    def best(self) -> int | None:
        """The trial that is best in the first objective; of equal ones the best in the next."""
        return self.front[0] if self.front else None

    @property
    def counted(self) -> int:
        """Trials within the budget, which is what `trials` of a study counts."""
        return sum(trial.state in ("open", "same") for trial in self.trials)

    @property
    def seconds(self) -> float:
        return sum(job.seconds for job in self.jobs)

    @property
    def wants_more(self) -> bool:
        """Whether another design may begin."""
        config = self.study.config
        if config.trials is not None and self.counted >= config.trials:
            return False
        if config.time is not None and self.seconds >= config.time:
            return False
        return len(self.trials) < len(self.study.grid) if config.method.name == "grid" else not self.gave_up

    @property
    def missing(self) -> int | None:
        """Trainings still to come, as far as that is known: designs, not promotions."""
        config = self.study.config
        waiting = sum(job.state in ("waiting", "running") for job in self.jobs)
        if config.method.name == "grid" and config.trials is None:
            return waiting + len(self.study.grid) - len(self.trials)
        return None if config.trials is None else waiting + max(0, config.trials - self.counted)

    @property
    def gave_up(self) -> bool:
        """Whether the last so many designs did not fit, or were the same as others."""
        return len(self.trials) >= REFUSED and all(trial.state != "open" for trial in self.trials[-REFUSED:])

    @property
    def at_work(self) -> bool:
        return pending(self.jobs)

    @property
    def is_over(self) -> bool:
        return not self.wants_more and not self.at_work and not self.owed

    @cached_property
    def owed(self) -> list[tuple[int, int]]:
        """Promotions to the next rung, (trial, rung)."""
        if len(self.study.rung_epochs) == 1:
            return []
        results: dict[int, list[tuple[float, ...]]] = {}
        there = {(job.trial, job.rung) for job in self.jobs}
        for job in self.jobs:
            if job.state == "done":
                results.setdefault(job.trial, []).append(self.vector(job.values))
        return self.study.rungs.rung_ready(results, there, closing=not self.wants_more and not self.at_work)

    def known(self) -> list[Known]:
        """What a method may learn from: of rungs the first one, at which all trials can be compared."""
        found = []
        for trial in self.trials:
            first = next(iter(self.jobs_for(trial)), None)
            state = "" if first is None else first.state
            found.append(Known(trial, first.values if first and state == "done" else None, failed=state == "failed"))
        return found

    def state(self, trial: Trial) -> str:
        """In a word or two."""
        if trial.state == "same":
            return f"same as {trial.same_as}"
        if trial.state == "over":
            return "over budget"
        jobs = self.jobs_of[trial.number]
        if trial.state == "invalid" or not jobs:
            return "invalid"
        job, last = jobs[-1], len(self.study.rung_epochs) - 1
        if job.state == "done" and job.rung < last:
            return f"rung {job.rung + 1} of {last + 1}"
        return job.state

    def values(self, trial: Trial) -> dict[str, float]:
        """Of the highest rung that it finished; before, what is known without training."""
        done = [job.values for job in self.jobs_for(trial) if job.state == "done"]
        plain: dict[str, float] = {
            name: value for name, value in trial.costs.items() if name in self.study.config.objectives
        }
        return dict(done[-1]) if done else plain

    def row(self, trial: Trial) -> dict[str, Any]:
        """A trial for scripts."""
        jobs = self.jobs_for(trial)
        done = [job for job in jobs if job.state == "done"]
        own = self.jobs_of[trial.number]
        return {
            "number": trial.number,
            "state": self.state(trial),
            "params": trial.point,
            "values": self.values(trial),
            "costs": trial.costs,
            "epochs": self.study.rung_epochs[done[-1].rung] if done else 0,
            "run": jobs[-1].run or None if jobs else None,
            "seconds": round(sum(job.seconds for job in own), 1),
            "attempts": sum(job.attempts for job in own),
            "note": trial.note or next((job.note for job in jobs if job.note), ""),
        }

    def plain(self) -> dict[str, Any]:
        rows = {trial.number: self.row(trial) for trial in self.trials}
        return {
            "study": self.study.name,
            "finished": self.is_over,
            "objectives": list(self.study.config.objectives),
            "best": None if self.best is None else rows[self.best],
            "pareto": [rows[number] for number in self.front],
            "trials": list(rows.values()),
            "counts": self.counts(),
            "seconds": round(self.seconds, 1),
        }

    def counts(self) -> dict[str, int]:
        """Trials by what became of them."""
        names = ("done", "running", "waiting", "failed", "same", "over budget", "invalid")
        states = [self.state(trial) for trial in self.trials]
        found = {name: sum(state.startswith(name) for state in states) for name in names}
        found["stopped early"] = sum(state.startswith("rung ") for state in states)
        return {name: count for name, count in found.items() if count or name == "done"}

    def require_fit(self) -> None:
        """Raises OverBudget where no design of the study can be trained."""
        if any(trial.state in ("open", "same") for trial in self.trials) or not self.trials:
            return
        over = [trial for trial in self.trials if trial.state == "over"]
        if not over:
            raise OverBudget(f"{self.study.name}: {self.trials[0].note}; no design of the space can be made")
        limits = self.study.budget.limits()
        nearest = min(over, key=lambda trial: max(abs(d) / limits.get(n, 1.0) for n, d in trial.excess.items()))
        told = "; ".join(
            f"{name} {show(name, nearest.costs[name])}, {show(name, abs(d))} {'over' if d > 0 else 'under'} its limit"
            for name, d in nearest.excess.items()
        )
        raise OverBudget(
            f"{self.study.name}: none of {len(self.trials)} designs fits the budget; the nearest is number "
            f"{nearest.number}: {told}; allow more, or put smaller values into the space"
        )
