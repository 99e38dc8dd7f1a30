"""A worker: takes jobs and trains them, proposes designs while more are wanted, until the study is over.

Any number of them, on any number of machines, may work on a study; they know of each other by its storage alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from types import TracebackType
from typing import Self

from snugnet import device, pipeline, runs
from snugnet.errors import (
    Diverged,
    Interrupted,
    OutOfMemory,
    OverBudget,
    RecipeError,
    RunLocked,
    StorageError,
    UsageError,
)
from snugnet.pipeline import Controls
from snugnet.recipe import Recipe
from snugnet.search.designs import design, recipe_of
from snugnet.search.methods import propose
from snugnet.search.progress import Progress
from snugnet.search.store import Job, Store, Trial
from snugnet.search.study import Study
from snugnet.ship import bench
from snugnet.stopping import Stopper
from snugnet.train.loop import Epoch, Step

LEASE_S = 60.0  # a worker that is not heard of for so long is dead
TURN_S = 0.5  # between two looks for work while others are at it
RENEWALS = 4  # in a lease
FAILS = (Diverged, OutOfMemory, OverBudget, RecipeError)  # what is the design's fault, and no reason to end the search
AT_RUNG = "the rung is reached"
LATENCY = {"windows": 3, "window_s": 0.5, "warmup_s": 0.2, "starts": 0}

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Worker:
    """Who works, where runs lie, and how trainings are carried out."""

    name: str
    folder: Path  # of the study
    device: str = "auto"
    lease_s: float = LEASE_S
    watch: Watch = lambda progress: None  # told when something has changed
    warn: Callable[[str], None] = lambda message: None
    alive: Callable[[], bool] = lambda: True  # whether who began this worker still wants it
    protocol: bench.Protocol = field(default_factory=lambda: bench.Protocol.parse(LATENCY))


class Lease:
    """While entered, a thread holds a job for its worker. `lost`: another worker has it."""

    def __init__(self, store: Store, job: Job, lease_s: float) -> None:
        self._store, self._job, self._lease_s = store, job, lease_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self.lost = False

    def _renew(self) -> None:
        held = time.monotonic()
        while not self._over.wait(self._lease_s / RENEWALS):
            try:
                if not self._store.renew(self._job, self._lease_s):
                    self.lost = True
                    return
                held = time.monotonic()
            except StorageError:  # a server that restarts is back before the lease is over, or it is over
                if time.monotonic() - held > self._lease_s:
                    self.lost = True
                    return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


@dataclass
class Session:
    """What a training is asked between two batches: whether it has come to its rung, or is another worker's by now."""

    target: int = 0  # epochs
    epoch: int = 0
    lease: Lease | None = None
    is_wanted: Callable[[], bool] = lambda: True

    def wish(self) -> str:
        if self.lease is not None and self.lease.lost:
            return "the lease was lost"
        if not self.is_wanted():
            return "the search that began this worker is gone"
        return AT_RUNG if self.target and self.epoch >= self.target else ""


def work(study: Study, store: Store, worker: Worker, stop_after_s: float | None = None) -> Progress:
    """Works until the study is over, or nothing is left that this worker could do; what the study has come to then.

    Raises Interrupted on a wish to stop, OverBudget where no design fits; what is no design's fault as it comes.
    """
    session = Session(is_wanted=worker.alive)
    stopper = Stopper(stop_after_s, session.wish)
    device.find_device(worker.device)
    with stopper:
        while True:
            progress = Progress.read(study, store)
            worker.watch(progress)
            if stopper.reason:
                raise Interrupted(f"{stopper.reason}: stopped, nothing is lost; the same command goes on")
            for trial, rung in progress.owed:
                store.promote(trial, rung)
            job = store.claim(worker.name, worker.lease_s)
            if job is not None:
                _carry_out(study, store, worker, progress, job, stopper, session)
            elif progress.wants_more:
                _propose(study, store, progress)
            elif progress.at_work:
                time.sleep(min(TURN_S, worker.lease_s / RENEWALS))
            elif not progress.owed:
                progress.require_fit()
                return progress


def _propose(study: Study, store: Store, progress: Progress) -> None:
    """Adds the next design; where another worker was quicker, that one is as good."""
    number = len(progress.trials)
    found = propose(study, number, progress.known())
    if found is not None:
        store.add(replace(design(study, number, found.point), memory=found.memory))


def _carry_out(
    study: Study, store: Store, worker: Worker, progress: Progress, job: Job, stopper: Stopper, session: Session
) -> None:
    """Trains a job and stores what came of it. A wish to stop gives it back, with all that it has learned."""
    trial = progress.trials[job.trial] if job.trial < len(progress.trials) else store.trials()[job.trial]
    began = time.monotonic()
    folder = worker.folder / "trials" / f"{trial.number:04d}-{trial.sha256[:8]}"  # no other design finds this one's run
    done = replace(job, state="done", run=folder.relative_to(worker.folder).as_posix())
    with Lease(store, job, worker.lease_s) as lease:
        session.lease = lease
        try:
            trained = _trained(study, worker, trial, job.rung, folder, stopper, session)
            values = _values(study, worker, trial, trained, job.rung)
            done = replace(done, values=values)
        except FAILS as error:
            done = replace(done, state="failed", note=str(error).splitlines()[0])
        except RunLocked:  # a worker that was taken for dead still writes; once its lease is over, somebody looks again
            return
        except BaseException as error:
            if isinstance(error, Interrupted) and lease.lost and not stopper.own_reason and worker.alive():
                return  # the job is in other hands; there may be another one
            store.give_back(job)  # which does nothing where another worker has it
            raise
        finally:
            session.lease, session.target = None, 0
    store.finish(replace(done, seconds=time.monotonic() - began))


def _trained(
    study: Study, worker: Worker, trial: Trial, rung: int, folder: Path, stopper: Stopper, session: Session
) -> list[Path]:
    """The runs of a trial, one a seed, each trained to the rung. Raises Interrupted on a wish to stop."""
    seeds, is_last = study.config.seeds, rung == len(study.rung_epochs) - 1
    paths = []
    for seed in range(seeds):
        recipe = recipe_of(study, trial, seed)
        path = folder if seeds == 1 else folder / f"seed-{recipe.experiment.seed}"
        if seeds > 1 and not seed:
            runs.create_group(folder, recipe, seeds)
        session.target, session.epoch = 0 if is_last else study.rung_epochs[rung], 0
        _train(recipe, path, worker, stopper, session)
        paths.append(path)
    return paths


def _train(recipe: Recipe, path: Path, worker: Worker, stopper: Stopper, session: Session) -> None:
    """Begins a run or goes on with it, to its end or to the rung."""

    def observe(progress: Step | Epoch) -> None:
        if isinstance(progress, Epoch):
            session.epoch = progress.epoch

    controls = Controls(
        device=worker.device, stopper=stopper, observe=observe, warn=worker.warn, started=time.monotonic()
    )
    try:
        if (path / "config.json").is_file():
            session.epoch = max((line["epoch"] for line in runs.read(path).metrics), default=0)
            if session.target and session.epoch >= session.target:
                return
            pipeline.resume(path, controls)
        else:
            pipeline.start(recipe, path, controls)
    except Interrupted:
        is_at_rung = session.wish() == AT_RUNG
        if stopper.own_reason or not is_at_rung:
            raise


def _values(study: Study, worker: Worker, trial: Trial, paths: list[Path], rung: int) -> dict[str, float]:
    """The objectives of a trial. Accuracy is on val, mean over seeds; at the last rung of the file that ships."""
    values: dict[str, float] = {}
    for name in study.config.objectives:
        if name == "accuracy":
            values[name] = mean(_accuracy(path, study.rung_epochs[rung]) for path in paths)
        elif name == "latency":
            values[name] = _latency(paths[0], worker)
        else:
            values[name] = trial.costs[name]
    return values


def _accuracy(path: Path, epochs: int) -> float:
    record = runs.read(path)
    if record.summary and record.summary["epochs"] <= epochs:
        found = record.summary["val"]
    else:
        found = next((line["val_accuracy"] for line in reversed(record.metrics) if line["epoch"] <= epochs), None)
    if found is None:
        raise UsageError(f"{path}: has no val split to choose by; give the data one, see data.val_fraction")
    return float(found)


def _latency(path: Path, worker: Worker) -> float:
    """Milliseconds an image: of the shipped file, or, before the last rung, of the same net untrained."""
    timed = path if runs.read(path).summary else path / "recipe.toml"
    net = bench.torch_net(timed, worker.protocol, device.find_device(worker.device))
    return bench.measure([net], worker.protocol, lambda window: None)[0].p50_ms
