"""The spine: a recipe is priced and held to its budget, trained, shipped, and judged on what was shipped."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from snugnet import artifact, budget, device, environment, lineage, memory, nets, parallel, problems
from snugnet.artifact import Card, Shipped
from snugnet.budget import Budget
from snugnet.data import augment, download, sources, splits
from snugnet.data.config import DataConfig, Normalization
from snugnet.data.images import DataInfo, Images
from snugnet.data.loader import EvalLoader, TrainLoader
from snugnet.data.splits import Splits
from snugnet.device import Compute
from snugnet.errors import ArtifactError, Interrupted, OutOfMemory, RecipeError
from snugnet.evaluate.metrics import Scores, scores
from snugnet.evaluate.tta import TtaConfig
from snugnet.lineage import Found
from snugnet.models.spec import ModelSpec
from snugnet.parallel import ALONE, Processes
from snugnet.recipe import Experiment, Recipe
from snugnet.runs import Run, require_free
from snugnet.scoring import Net, eval_loader
from snugnet.stopping import Stopper
from snugnet.train import distill, loop, losses, range_test
from snugnet.train.history import Metric, learns_nothing, score
from snugnet.train.loop import Epoch, Step

Observer = Callable[[Step | Epoch], None]
RECIPE_SEEN = "recipe_toml_sha256"  # in environment.json


@dataclass(frozen=True)
class Controls:
    """How a training is carried out; none of it changes the result but the device and its precision."""

    device: str = "auto"
    stopper: Stopper = field(default_factory=Stopper)
    observe: Observer = lambda progress: None
    planned: Callable[[budget.Cost, Budget], None] = lambda cost, limits: None  # told once the design is known to fit
    download: download.Report = download.silent
    warn: Callable[[str], None] = lambda message: None
    started: float = field(default_factory=time.monotonic)  # when the user's command began
    resumes: Path | None = None  # the group of seeds that the run belongs to, to be gone on with as a whole
    processes: Processes = ALONE  # those that train together; the first writes, and its summary is the one there is


def adapted(experiment: Experiment, info: DataInfo, *, force: bool = False) -> Experiment:
    """The experiment with its net made for the data: classes, channels, image size.

    A size that the recipe itself gives must agree, unless `force` (the user named other data). Raises RecipeError.
    """
    found = {"classes": len(info.classes), "in_channels": info.channels, "image_size": info.image_size}
    given = experiment.model.model_fields_set
    clashes = [
        f"model.{name}: must be {value} for {info.name}, but the recipe gives {getattr(experiment.model, name)}; "
        "leave it out, or correct it"
        for name, value in found.items()
        if name in given and getattr(experiment.model, name) != value and not force
    ]
    if clashes:
        raise RecipeError(*clashes)
    if any(getattr(experiment.model, name) != value for name, value in found.items()):
        try:
            experiment = experiment.model_copy(update={"model": experiment.model.replaced(**found)})
        except ValidationError as error:
            raise RecipeError(*problems.explain(error, ModelSpec, f"the net for {info.name}", {})) from error
    check_sizes(experiment)
    distill.check(experiment.distill, experiment.train)
    return experiment


def check_sizes(experiment: Experiment) -> None:
    """Raises RecipeError where the net cannot read an image of a size that train.progressive names."""
    spec = experiment.model
    for number, step in enumerate(experiment.train.progressive):
        where = f"train.progressive.{number}.size"
        if step.size > spec.image_size:
            raise RecipeError(f"{where}: must be at most the images' {spec.image_size}; got {step.size}")
        smaller = spec.model_copy(update={"image_size": step.size}).map_sizes()
        if min(smaller) < 1 or smaller[-1] != spec.map_sizes()[-1]:
            raise RecipeError(
                f"{where}: the net cannot read images of {step.size}x{step.size}; choose a larger size, or a head that "
                "pools the whole map (pool 'avg' or 'max', without kernel)"
            )


def planned_card(experiment: Experiment, *, force: bool = False) -> Card:
    """The card as it will ship, before any pixel is read; constants still to be measured take as many bytes."""
    info = sources.describe(experiment.data)
    fitted = adapted(experiment, info, force=force)
    constants = fitted.data.normalize
    if not isinstance(constants, Normalization):
        constants = Normalization(mean=(0.0,) * info.channels, std=(1.0,) * info.channels)
    kept = experiment.quantize.shipped if experiment.quantize else None
    return Card(model=fitted.model.shipped, classes=info.classes, normalization=constants, quantization=kept)


def start(recipe: Recipe, path: Path, controls: Controls, *, force: bool = False) -> dict[str, Any]:
    """Trains in a new run directory; returns the summary. Raises OverBudget before any pixel is read."""
    processes = controls.processes
    if processes.leads:
        require_free(path)
    experiment, cost = prepared(recipe.experiment, force=force)
    parent, teachers = lineage.find(experiment), lineage.teachers(experiment)
    controls.planned(cost, experiment.budget)
    compute = device.choose(controls.device, experiment.train.precision)
    data = opened(experiment, controls)
    check_watched(experiment, data)
    experiment = descended(experiment, parent, teachers, data, controls)
    if processes.leads:
        found = environment.describe(compute, experiment.foreign_code)
        Run.create(path, recipe, experiment, found | {RECIPE_SEEN: _digest(recipe.text)})
    return execute(Run(path, experiment), data, compute, cost, controls)


def opened(experiment: Experiment, controls: Controls) -> Splits:
    """The data, downloaded by one process. Raises RecipeError where a batch is too small for all of them."""
    count, size = controls.processes.place.count, experiment.train.batch_size
    if size < 2 * count:
        raise RecipeError(
            f"train.batch_size: must give each of {count} processes two images, for batch norm learns nothing from "
            f"one; got {size}; give {2 * count}, or fewer processes"
        )
    return controls.processes.in_turn(lambda: splits.open_splits(experiment.data, controls.download))


def prepared(experiment: Experiment, *, force: bool = False) -> tuple[Experiment, budget.Cost]:
    """The experiment with its net made for its data, whose place is decided, and the cost; the user's own code in it
    was tried.

    Raises OverBudget, RecipeError; reads no pixel.
    """
    planned = planned_card(experiment, force=force)
    cost = budget.price(planned)
    budget.check(cost, experiment.budget)
    augment.try_out(experiment.train.augment, planned.model.in_channels, planned.model.image_size)
    losses.try_out(experiment.train, planned.model.classes)
    net = planned.model.trained_as(experiment.model)
    return experiment.model_copy(update={"model": net, "data": sources.decided(experiment.data)}), cost


def descended(
    experiment: Experiment, parent: Found | None, teachers: Sequence[Found], data: Splits, controls: Controls
) -> Experiment:
    """The experiment with its parent and teachers in it, once the user was told which they are and what to know."""
    if parent is not None:
        controls.warn(f"this training begins with the weights of {parent.parent.path}")
        for doubt in parent.doubts(experiment, data):
            controls.warn(doubt)
        experiment = experiment.model_copy(update={"parent": parent.parent})
    if teachers:
        named = ", ".join(f"{each.parent.path} ({each.shipped.params:,} parameters)" for each in teachers)
        controls.warn(f"this training learns from {named}")
        for doubt in (doubt for each in teachers for doubt in each.leaks(experiment, data)):
            controls.warn(doubt)
        experiment = experiment.model_copy(update={"teachers": tuple(each.parent for each in teachers)})
    return experiment


def resume(path: Path, controls: Controls) -> dict[str, Any]:
    """Goes on where a run stopped; the summary of a finished one as it stands."""
    run = Run.open(path)
    if controls.processes.agreed(lambda: run.is_finished):
        return run.record().summary
    experiment, cost = prepared(run.experiment)
    if experiment.parent and not run.has_checkpoint:
        lineage.read(experiment.parent)  # known to be there before the data is opened
    nets.taught_by(experiment)
    controls.planned(cost, experiment.budget)
    compute = device.choose(controls.device, experiment.train.precision)
    before = run.record().environment
    if began := environment.changed(before, compute, experiment.foreign_code):
        controls.warn(f"{path}: {began}; the rest will not be bitwise what it would have been there")
    for doubt in _doubts(path, before):
        controls.warn(doubt)
    data = opened(experiment, controls)
    return execute(run, data, compute, cost, controls)


def _doubts(path: Path, before: dict[str, Any]) -> Iterator[str]:
    """What a user should know of a run that is gone on with, and what does not change its result."""
    if (began := str(before.get("date", ""))) > (now := environment.now()):
        yield f"{path}: the clock was put back: the run began at {began}, and it is {now}; its dates are not in order"
    given = path / "recipe.toml"
    try:
        seen = _digest(given.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        seen = f"cannot be read: {error}"
    if before.get(RECIPE_SEEN, seen) != seen:
        yield (
            f"{given}: has changed since the run began, and the run goes on as it began; for what it says now: "
            f"snug train {given} --run ANOTHER"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def execute(run: Run, data: Splits, compute: Compute, cost: budget.Cost, controls: Controls) -> dict[str, Any]:
    """Train, ship, judge: from whatever the run directory holds to its summary, which the first process gives alone."""
    experiment = run.experiment
    run.data = data.digest
    if not controls.processes.leads:
        with controls.stopper, memory_explained(experiment, compute):
            follow(run, data, compute, controls)
        return {}
    with run.locked(), controls.stopper:
        clock = Clock(run.elapsed_s(), controls.started)
        with memory_explained(experiment, compute):
            train(run, data, compute, controls, clock)
            state = run.state("best" if experiment.train.keeps_best and len(data.val) else "last")
            assert state is not None, "training ends with a checkpoint"
            shipped, weights = ship(run, data, state)
            held = held_out(data, experiment.data)
            views = {"test": experiment.tta} if experiment.tta and "test" in held else {}
            seen = {name: judge(run, shipped, held[name], name, compute, views.get(name)) for name in held}
        judged = {name: plain for name, (plain, _) in seen.items()}
        summary = summarize(run, cost, shipped, judged, weights=weights, epoch=state["epoch"], compute=compute)
        summary["tta"] = views["test"].name if views else None
        summary["tta_test"] = seen["test"][1].accuracy if views else None
        summary["seconds"] = round(clock(), 1)
        run.finish(summary)
    return summary


@dataclass(frozen=True)
class Clock:
    """Wall time in seconds since the user's command began, and that of earlier sessions of the run."""

    before_s: float
    started: float

    def __call__(self) -> float:
        return self.before_s + time.monotonic() - self.started


def train(run: Run, data: Splits, compute: Compute, controls: Controls, clock: Clock) -> None:
    """Runs the loop to its last epoch, writing what it yields. Raises Interrupted on a wish to stop."""
    experiment = run.experiment
    state = run.state()
    if run.fell_back and state is not None:
        where = f"epoch {state['epoch'] + 1}, step {state['step']}"
        controls.warn(f"{run.fell_back}; going on from the checkpoint before it, in {where}: nothing else is lost")
    run.rewind(state["epoch"] if state else 0)
    if not experiment.train.epochs and state is None:
        run.save(loop.Learner(nets.initial_model(experiment, data), experiment.train, compute).state(), clock())
        return
    judged = state["history"] if state else []
    best = max((score(each, experiment.train.keep_metric) for each in judged), default=None)
    for progress in learning(experiment, data, compute, controls, state):
        controls.observe(progress)
        if isinstance(progress, Epoch):
            run.log(progress.line())
            judged = [*judged, (progress.val_loss, progress.val_accuracy)]
            if doubt := lifeless(judged, data, experiment):
                controls.warn(doubt)
            found = _score(progress, experiment.train.keep_metric)
            if found is not None and (best is None or found > best):
                best = found
                run.save(progress.state(), clock(), "best")
            run.save(progress.state(), clock())
        elif reason := controls.processes.stop(controls.stopper.reason):
            run.save(progress.state(), clock())
            raise interrupted(reason, progress, run, controls)


def lifeless(judged: Sequence[Any], data: Splits, experiment: Experiment) -> str | None:
    """What to tell of a net that still says nothing more than the commonest class does; once, some epochs in."""
    if not len(data.val):
        return None
    chance = data.val.labels.bincount().max().item() / len(data.val)
    if not learns_nothing(judged, chance, len(data.val)):
        return None
    best = max(accuracy for _, accuracy in judged)
    return (
        f"after {len(judged)} epochs val accuracy is at most {best:.2%}, and naming the commonest class gives "
        f"{chance:.2%}: the net learns nothing; lower train.optimizer.lr (now {experiment.train.optimizer.lr:g}), or "
        f"look at images and labels with `snug data show {experiment.data.name}`"
    )


def follow(run: Run, data: Splits, compute: Compute, controls: Controls) -> None:
    """What `train` is in every process but the first: it learns alike, and writes nothing."""
    for progress in learning(run.experiment, data, compute, controls, run.state()):
        if isinstance(progress, Step) and (reason := controls.processes.stop(controls.stopper.reason)):
            raise interrupted(reason, progress, run, controls)


def learning(
    experiment: Experiment, data: Splits, compute: Compute, controls: Controls, state: loop.State | None
) -> Iterator[Step | Epoch]:
    """The training from `state` on."""
    loader, val = loaders(experiment, data, compute.device, controls.processes)
    teaching = nets.taught(experiment, data, loader, compute, controls.processes)
    # A state holds all weights: what the net began with is not asked for again.
    model = nets.blank_model(experiment) if state else nets.initial_model(experiment, data)
    config = losses.weighed(experiment.train, data.shown_labels, len(data.info.classes))
    return loop.fit(model, loader, val, config, compute, state, controls.processes, teaching)


def interrupted(reason: str, step: Step, run: Run, controls: Controls) -> Interrupted:
    return Interrupted(
        f"{reason}: stopped in epoch {step.epoch}, step {step.step}, nothing is lost; "
        f"go on with: {goes_on(run.path, run.experiment, controls)}"
    )


def goes_on(path: Path, experiment: Experiment, controls: Controls) -> str:
    """The command that goes on with a run."""
    code = " --allow-code" if experiment.foreign_code else ""
    return f"{controls.processes.place.command} resume {controls.resumes or path}{code}"


def sweep_lr(
    recipe: Recipe, plan: range_test.RangeConfig, controls: Controls, *, force: bool = False
) -> Iterator[range_test.Point]:
    """A learning-rate range test of a recipe: on its training images alone, and nothing is written."""
    experiment, _ = prepared(recipe.experiment, force=force)
    parent, teachers = lineage.find(experiment), lineage.teachers(experiment)
    compute = device.choose(controls.device, experiment.train.precision)
    data = splits.open_splits(experiment.data, controls.download)
    experiment = descended(experiment, parent, teachers, data, controls)
    train_loader, _ = loaders(experiment, data, compute.device)
    config = losses.weighed(experiment.train, data.shown_labels, len(data.info.classes))
    with memory_explained(experiment, compute):
        teaching = nets.taught(experiment, data, train_loader, compute, ALONE)
        model = nets.initial_model(experiment, data)
        yield from range_test.sweep(model, train_loader, config, compute, plan, teaching)


def _score(epoch: Epoch, metric: Metric) -> float | None:
    """None where there is no val split."""
    if epoch.val_loss is None or epoch.val_accuracy is None:
        return None
    return score((epoch.val_loss, epoch.val_accuracy), metric)


def check_watched(experiment: Experiment, data: Splits) -> None:
    """Raises RecipeError where the recipe watches a val split that is empty."""
    if (key := experiment.train.watches_val) and not len(data.val):
        raise RecipeError(f"{key}: needs a val split, which is empty; set data.train_on = 'train', or leave it out")


@contextlib.contextmanager
def memory_explained(experiment: Experiment, compute: Compute) -> Iterator[None]:
    """Turns a failed allocation into an OutOfMemory that names a batch that fits."""
    try:
        yield
    except (RuntimeError, MemoryError, RecipeError, ArtifactError) as error:  # of the last two the cause tells
        if not memory.is_out_of_memory(error):
            raise
        teachers = [each.card for each in nets.taught_by(experiment)]
        needed = memory.predict(experiment.model, experiment.train, compute.precision, teachers)
        free = device.available_bytes(compute.device)
        config = experiment.train
        raise OutOfMemory(memory.too_large(needed, config.batch_size, free, config.accumulate)) from error


def loaders(
    experiment: Experiment, data: Splits, where: torch.device, processes: Processes = ALONE
) -> tuple[TrainLoader, EvalLoader | None]:
    """Training batches, and the process's rows of the validation split in order; None where it is empty."""
    config = experiment.train
    loader = TrainLoader(
        data.train,
        data.normalization,
        classes=len(data.info.classes),
        batch_size=config.batch_size,
        augment=config.augment,
        seed=experiment.seed,
        copies=data.copies,
        device=where,
    )
    if not len(data.val):
        return loader, None
    rows = torch.arange(len(data.val))[processes.share(len(data.val))]
    return loader, eval_loader(data.val.select(rows), data.normalization, where)


def ship(run: Run, data: Splits, state: loop.State) -> tuple[Shipped, str]:
    """Writes the weights of a checkpoint as the artifact, holds the file to the budget, and reads it again."""
    experiment = run.experiment
    weights, which = loop.shipped_weights(state)
    model = nets.blank_model(experiment)
    model.load_state_dict(weights)
    kept = experiment.quantize.shipped if experiment.quantize else None
    shipped_card = Card(
        model=experiment.model.shipped, classes=data.info.classes, normalization=data.normalization, quantization=kept
    )
    size = artifact.write(run.artifact, shipped_card, nets.as_shipped(model, experiment, data))
    budget.check_bytes(size, experiment.budget)
    return artifact.read(run.artifact), which


def held_out(data: Splits, config: DataConfig) -> dict[str, Images]:
    """What the shipped file is judged on. Empty splits are left out."""
    found = {"val": data.val, "test": splits.open_test(config)}
    return {name: images for name, images in found.items() if images is not None and len(images)}


def judge(
    run: Run, shipped: Shipped, images: Images, name: str, compute: Compute, tta: TtaConfig | None = None
) -> tuple[Scores, Scores]:
    """Scores of the shipped file on a split, in fp32: at one look, and by all views. The predictions are kept."""
    seen = Net.of(shipped, compute.device).look(images, tta)
    run.save_predictions(name, seen.plain, images.labels)
    if tta:
        run.save_predictions(f"{name}_tta", seen.averaged, images.labels)
    plain = scores(seen.plain, images.labels, shipped.card.classes)
    return plain, scores(seen.averaged, images.labels, shipped.card.classes) if tta else plain


def summarize(
    run: Run,
    cost: budget.Cost,
    shipped: Shipped,
    judged: dict[str, Scores],
    *,
    weights: str,
    epoch: int,
    compute: Compute,
) -> dict[str, Any]:
    """What summary.json says, but for the time."""
    experiment, metrics = run.experiment, run.record().metrics
    measured = {name: judged[name].accuracy if name in judged else None for name in ("val", "test")}
    return {
        "format": 1,
        "recipe": experiment.name,
        "recipe_sha256": experiment.sha256,
        "seed": experiment.seed,
        "parent": experiment.parent.plain() if experiment.parent else None,
        "teachers": [teacher.plain() for teacher in experiment.teachers or ()],
        "epochs": metrics[-1]["epoch"] if metrics else 0,  # that ran: [train.stop] may end it early
        "params": shipped.params,
        "macs": cost.macs,
        "bytes": shipped.size_bytes,
        "size_mb": cost.size_mb,
        "peak_activation_bytes": cost.peak_activation_bytes,
        "budget": experiment.budget.plain(exclude_defaults=True),
        "weights": "best" if experiment.train.keeps_best else weights,
        "epoch": epoch,
        "trained_on": experiment.data.train_on,
        "classes": list(shipped.card.classes),
        **measured,
        "scores": {name: value.plain() for name, value in judged.items()},
        "images_per_second": round(sum(line["images_per_second"] for line in metrics) / max(1, len(metrics)), 1),
        "device": str(compute.device),
        "precision": compute.precision,
        "processes": parallel.count(),
        "hardware": environment.hardware(compute.device),
        "date": environment.now(),
        "commit": environment.commit(),
        "command": environment.command_line(),
    }
