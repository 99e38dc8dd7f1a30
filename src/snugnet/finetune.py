"""Fine-tuning: the recipe by which shipped weights go on with images of the user's own.

What the weights were learned with stays, for it is what they are good at: the net, the side and the constants of its
images, augmentation, loss and optimiser. What suits a short training on few images is new: see `_training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snugnet import lineage, recipe, toml_text
from snugnet.artifact import Card
from snugnet.data import sources
from snugnet.data.config import DataConfig
from snugnet.data.listing import ImageFiles
from snugnet.recipe import Experiment, Recipe
from snugnet.train.config import BALANCED

EPOCHS, LARGEST_BATCH, LR_SHARE = 30, 64, 0.1
SCHEDULE = {"name": "cosine", "per": "batch", "warmup_epochs": 1}
OPTIMIZER = {"name": "sgd", "lr": 0.01, "nesterov": True, "weight_decay": 5e-4, "decay_all": False}
REPLACED = {"epochs", "init_from", "transfer", "schedule", "stop", "progressive"}


def own_data(weights: str, data: str, overrides: Sequence[str] = (), seed: int = 0) -> Recipe:
    """The recipe that goes on with `weights`, all that train.init_from may mean, on the images of `data`.

    It is written out, so that it can be read, changed and trained again. Raises ArtifactError, DataError, RecipeError.
    """
    shipped, record = lineage.opened(weights, seed)
    before = None if record is None else record.experiment
    name = (before.name if before else "") or Path(weights).stem
    document: dict[str, Any] = {
        "name": f"{name}-{Path(data).stem}",
        "purpose": f"{name}, gone on with the images of {data}",
        "seed": seed,
        "model": _without(shipped.card.model.plain(exclude_defaults=True), {*lineage.SIZES}),
        "data": _data(data, shipped.card),
        "train": {"init_from": weights, "transfer": True, **_training(before, shipped.card.model.image_size)},
    }
    if before:
        kept = {"budget": before.budget.plain(exclude_defaults=True), "tta": before.tta and before.tta.plain()}
        document |= {key: value for key, value in kept.items() if value}
    return recipe.parse(toml_text.document(document), f"--from {weights}", document["name"], overrides)


def words(experiment: Experiment) -> str:
    """What was decided for the user, all of it open to --set."""
    train, data = experiment.train, experiment.data
    constants = "measured anew" if data.normalize == "train" else "those of the weights"
    side = f"images of {data.image_size}x{data.image_size}, " if data.image_size else ""
    return (
        f"fine-tuning: {side}normalisation {constants}, {train.epochs} epochs, batches of {train.batch_size}, "
        f"{train.optimizer.name} with lr {train.optimizer.lr:g}; --set changes any of it"
    )


def _data(name: str, card: Card) -> dict[str, Any]:
    """Images of files at the side that the weights know, with their constants where the channels are as many."""
    config = DataConfig(name=name)
    if name not in sources.NAMED and isinstance(sources.resolve(name), ImageFiles):
        config = DataConfig(name=name, image_size=card.model.image_size)
    if sources.describe(config).channels == card.model.in_channels:
        config = config.model_copy(update={"normalize": card.normalization})
    return config.plain(exclude_defaults=True) | {"name": name}


def _training(before: Experiment | None, side: int) -> dict[str, Any]:
    """A tenth of the learning rate, batches of at most 64, 30 epochs of a cosine behind one of warm-up; all else as the
    weights were trained, or for a file without its run a plain beginning."""
    if before is None:
        augment = [{"op": "crop", "padding": max(1, side // 8)}, {"op": "flip"}]
        kept: dict[str, Any] = {"batch_size": LARGEST_BATCH, "optimizer": OPTIMIZER, "augment": augment}
    else:
        train = before.train
        dropped = REPLACED if train.class_weights in (None, BALANCED) else {*REPLACED, "class_weights"}
        rule = train.optimizer.plain()  # whole: what is default for one rule is not for another
        rates = {key: float(f"{rule[key] * LR_SHARE:.6g}") for key in ("lr", "rest_lr") if key in rule}
        kept = _without(train.plain(exclude_defaults=True), dropped)
        kept |= {"batch_size": min(train.batch_size, LARGEST_BATCH), "optimizer": rule | rates}
    return {"epochs": EPOCHS, "schedule": SCHEDULE, **kept}


def _without(table: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}
