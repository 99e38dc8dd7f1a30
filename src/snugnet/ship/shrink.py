"""A finished run to a smaller one: what it begins with, and the recipe that fine-tunes, ships and judges it."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from snugnet import artifact, budget, lineage, problems, recipe, runs, scoring, toml_text, units
from snugnet.artifact import Card, Shipped
from snugnet.budget import Budget, Cost
from snugnet.compress import channels, prune
from snugnet.compress.channels import Channels
from snugnet.compress.config import Quantization
from snugnet.compress.prune import PruneConfig
from snugnet.data import splits
from snugnet.data.loader import EvalLoader
from snugnet.errors import OverBudget, RecipeError, UsageError
from snugnet.evaluate.significance import image_test
from snugnet.models import resnet
from snugnet.models.resnet import ResNet
from snugnet.problems import nearest
from snugnet.recipe import Experiment, Parent, Recipe
from snugnet.runs import RunRecord
from snugnet.train.config import TrainConfig
from snugnet.train.schedule import ScheduleConfig

MEASURES = ("params", "bytes", "macs")
EPOCHS_SHARE = 1 / 3  # of the parent's epochs that a fine-tuning lasts, rounded up
LR_SHARE = 0.2  # of the parent's learning rate that it begins with
SAMPLE, BATCH = 2_048, 128  # training images that first-order importance is taken on, and at a time


@dataclass(frozen=True)
class Pruning:
    """`target` as written: "params=80k,macs=50%"."""

    target: str
    config: PruneConfig


@dataclass(frozen=True)
class Wish:
    """What becomes of a run. `epochs` None: the usual share of the parent's; `changes` as --set gives them."""

    prune: Pruning
    epochs: int | None = None
    changes: Sequence[str] = ()
    kept: Quantization | None = None  # the target is meant in these numbers, which a later run will keep


@dataclass(frozen=True)
class Group:
    """Channels that one width of the net stands for: its first layer, how many layers it joins, how many there are."""

    layer: str
    layers: int
    before: int
    after: int


@dataclass(frozen=True)
class Pruned:
    """A smaller net. `fixed`: layers whose channels cannot go."""

    card: Card
    model: ResNet
    groups: tuple[Group, ...]
    fixed: tuple[str, ...]

    def plain(self, pruning: Pruning) -> dict[str, Any]:
        groups = [asdict(group) for group in self.groups]
        return {"target": pruning.target, **pruning.config.plain(), "groups": groups, "fixed": list(self.fixed)}


@dataclass(frozen=True)
class Child:
    """A run that is ready to be trained in `path`; the weights of a pruned one lie there."""

    path: Path
    recipe: Recipe
    pruned: Pruned | None = None


def target_of(text: str, cost: Cost) -> Budget:
    """The limits that a target means for a net of that cost. Raises RecipeError."""
    limits: dict[str, int] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or name not in MEASURES:
            known = ", ".join(MEASURES)
            raise RecipeError(f"--prune {item}: must be NAME=LIMIT with NAME one of {known}{nearest(name, MEASURES)}")
        if name in limits:
            raise RecipeError(f"--prune {item}: {name} has a limit already; give one for each measure")
        try:
            if value.endswith("%"):
                limits[name] = math.floor(units.parse(value, {"%": 0.01}, "a share") * getattr(cost, name))
            else:
                limits[name] = units.parse_bytes(value) if name == "bytes" else units.parse_count(value)
        except ValueError as error:
            raise RecipeError(f"--prune {item}: {error}") from error
    if not limits:
        raise RecipeError("--prune: must be NAME=LIMIT, for example params=80k or macs=50%")
    try:
        return Budget.parse(limits)
    except ValidationError as error:
        raise RecipeError(*problems.explain(error, Budget, "--prune", {})) from error


def child(run: Path, wish: Wish, into: Path | None, where: torch.device) -> Child:
    """Makes a run's smaller form and the recipe of its training; writes what that begins with into its directory.

    Raises OverBudget where the target is out of reach, UsageError where nothing is to be removed.
    """
    record = runs.read_finished(run)
    shipped = artifact.read(run / "model.safetensors")
    parent = record.experiment
    name = f"{parent.name.removesuffix('-pruned') or run.name}-pruned"
    path = into or runs.free_path(runs.ROOT, name)
    runs.require_free(path)
    limits = target_of(wish.prune.target, budget.price(shipped.card))
    made = pruned(shipped, parent, limits, wish.prune, where, wish.kept)
    start = path / runs.START
    experiment = _fine_tuned(parent, made, limits, wish, start)
    loaded = recipe.parse(_text(experiment, run, wish.prune), str(path / "recipe.toml"), name, wish.changes)
    path.mkdir(parents=True, exist_ok=True)
    artifact.write(start, made.card, made.model)
    identity = [record.experiment.sha256, limits.limits(), wish.prune.config.plain()]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    origin = Parent(path=start.as_posix(), sha256=lineage.sha256_of(start), recipe_sha256=digest)
    descended = loaded.experiment.model_copy(update={"parent": origin})
    return Child(path, Recipe(descended, loaded.text, loaded.origins), made)


def pruned(
    shipped: Shipped,
    parent: Experiment,
    limits: Budget,
    pruning: Pruning,
    where: torch.device,
    kept: Quantization | None = None,
) -> Pruned:
    """The net without the channels that matter least, within the limits once its numbers are kept as `kept` says."""
    spec, state = shipped.card.model, shipped.model.state_dict()
    found = channels.follow(spec)
    sample = sampled(shipped, parent, where) if pruning.config.by == "taylor" else iter(())
    model = copy.deepcopy(shipped.model).to(where).requires_grad_(True)
    scores = prune.importance(found, state, pruning.config.by, model, sample)
    found, score = prune.evened(spec, found, scores)
    steps = prune.order(found, score, pruning.config)

    def card_without(gone: set[int]) -> Card:
        return shipped.card.model_copy(update={"model": prune.pruned_spec(spec, found, gone), "quantization": kept})

    gone = prune.choose(steps, lambda gone: _fits(card_without(gone), limits))
    if gone is None:
        smallest = card_without({root for step in steps for root in step.gone})
        raise OverBudget(_out_of_reach(shipped.path.parent, smallest, limits))
    if not gone:
        raise UsageError(
            f"--prune {pruning.target}: {shipped.path.parent} is within it already "
            f"({', '.join(_seen(shipped.card, limits))}); give less"
        )
    card = Card.parse(card_without(gone).plain() | {"quantization": None})
    small = resnet.build_meta(card.model).to_empty(device="cpu")
    small.load_state_dict(prune.sliced(state, found, gone))
    return Pruned(card, small, _groups(found, gone), _fixed(found))


def sampled(shipped: Shipped, parent: Experiment, where: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Training images as they are, not augmented: the first, which are a random sample of them."""
    images = splits.open_splits(parent.data).train
    images = images.select(torch.arange(min(len(images), scoring.as_many(SAMPLE, images))))
    size = scoring.as_many(BATCH, images)
    loader = EvalLoader(images, shipped.card.normalization, batch_size=size, device=where)
    return zip(loader, loader.labels.split(size), strict=True)


def _fits(card: Card, limits: Budget) -> bool:
    return all(budget.measure(card, name) <= limit for name, limit in limits.limits().items())


def _seen(card: Card, limits: Budget) -> list[str]:
    return [budget.show(name, budget.measure(card, name)) for name in limits.limits()]


def _out_of_reach(run: Path, smallest: Card, limits: Budget) -> str:
    wanted = ", ".join(budget.show(name, limit) for name, limit in limits.limits().items())
    least = ",".join(f"{name}={budget.measure(smallest, name):.0f}" for name in limits.limits())
    return (
        f"{run}: must be pruned to {wanted}, but is {', '.join(_seen(smallest, limits))} with all gone that can go; "
        f"give --prune {least} or more"
    )


def _groups(found: Channels, gone: set[int]) -> tuple[Group, ...]:
    """In the order of the net; without those that nothing can be taken from."""
    shown = []
    for group in prune.groups(found):
        layers = [name for name in found.makers if not found.fixed.issuperset(group) and _overlap(found, name, group)]
        if layers:
            left = sum(root not in gone for root in group)
            shown.append(Group(layers[0].removesuffix(".conv"), len(layers), len(group), left))
    return tuple(shown)


def _overlap(found: Channels, layer: str, group: Sequence[int]) -> bool:
    return not set(found.outputs[layer]).isdisjoint(group)


def _fixed(found: Channels) -> tuple[str, ...]:
    """Layers that make no channel that may go, but for the classifier."""
    return tuple(
        name for name in found.makers if name != "head.classifier" and found.fixed.issuperset(found.outputs[name])
    )


def _fine_tuned(parent: Experiment, made: Pruned, limits: Budget, wish: Wish, start: Path) -> Experiment:
    """The parent's recipe with the smaller net, begun with what is left of it and trained for a while, gently."""
    new = {} if wish.kept else limits.limits()
    held = {name: min(limit, parent.budget.limits().get(name, limit)) for name, limit in new.items()}
    update = {
        "model": made.card.model,
        "train": gentle(parent.train, wish.epochs, start.as_posix(), LR_SHARE),
        "budget": parent.budget.model_copy(update={**held, "floor": None}),
        **dict.fromkeys(("published", "expect", "parent")),
    }
    return parent.model_copy(update=update)


def gentle(train: TrainConfig, epochs: int | None, begins_with: str, lr_share: float) -> TrainConfig:
    """How a net goes on that is nearly trained: shorter, and slower by the share."""
    lr, rest = train.optimizer.lr * lr_share, train.optimizer.rest_lr
    slower = {"lr": lr, "rest_lr": rest and rest * lr_share}
    update = {
        "epochs": usual_epochs(train) if epochs is None else epochs,
        "init_from": begins_with,
        "optimizer": train.optimizer.model_copy(update=slower),
        "schedule": ScheduleConfig(name="cosine", per="batch"),
        "progressive": (),
    }
    return train.model_copy(update=update)


def usual_epochs(train: TrainConfig) -> int:
    return max(1, math.ceil(train.epochs * EPOCHS_SHARE))


def _text(experiment: Experiment, run: Path, pruning: Pruning) -> str:
    facts = {"name", "command", "hardware", "time", "purpose", "source", "parent"}
    config = pruning.config
    return toml_text.document(
        {
            "purpose": f"{experiment.name or run.name} pruned to {pruning.target}, {config.scope} by {config.by}",
            "source": f"snug compress {run} --prune {pruning.target}",
            **experiment.plain(exclude_defaults=True, exclude=facts),
        }
    ) + "\n"  # fmt: skip


def beside(parent: RunRecord, made: RunRecord) -> dict[str, Any]:
    """A run beside the one that it was made of: cost, accuracies, and whether the same images tell them apart."""
    before, after = parent.summary, made.summary
    split = next((name for name in ("test", "val") if after[name] is not None and before[name] is not None), None)
    document: dict[str, Any] = {
        "run": str(made.path),
        **{name: after[name] for name in ("bytes", "params", "macs", "val", "test", "epochs")},
        "split": split,
        "accuracy": after[split] if split else None,
        "parent_accuracy": before[split] if split else None,
        "parent": {"run": str(parent.path), **{n: before[n] for n in ("bytes", "params", "macs", "val", "test")}},
        "images": None,
    }
    if split:
        (a, labels), (b, same) = parent.predictions(split), made.predictions(split)
        if torch.equal(labels, same):
            document["images"] = image_test(a.argmax(1) == labels, b.argmax(1) == labels).plain()
    return document
