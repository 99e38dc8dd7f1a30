"""A finished run to one whose numbers take fewer bits: the recipe that learns, ships and judges it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snugnet import recipe, runs, toml_text
from snugnet.budget import Budget
from snugnet.compress.config import QuantizeConfig
from snugnet.compress.graph import structure
from snugnet.models.spec import ModelSpec
from snugnet.recipe import Experiment
from snugnet.ship.shrink import Child, gentle, usual_epochs

LR_SHARE = 0.02  # of the parent's learning rate: rounded numbers learn without norms
INT4_GROUP = 32
FORMATS = {
    "float16": QuantizeConfig(weights="float16"),
    "int8": QuantizeConfig(weights="int8"),
    "int4": QuantizeConfig(weights="int4", group=INT4_GROUP),
}


def suited(config: QuantizeConfig, model: ModelSpec) -> QuantizeConfig:
    """Activations stay floats where integers do not compute them."""
    if not config.is_integer or structure(model.shipped).floating is None:
        return config
    return config.model_copy(update={"activations": "float"})


@dataclass(frozen=True)
class Rounding:
    """`epochs` that it learns in rounded numbers: None as many as are usual, 0 none; `changes` as --set gives them."""

    format: str
    epochs: int | None = None
    changes: Sequence[str] = ()

    def config(self, epochs: int) -> QuantizeConfig:
        return FORMATS[self.format].model_copy(update={"train": epochs > 0})

    def epochs_of(self, parent: Experiment) -> int:
        """int4 has to learn; the others lose little as they are."""
        if self.format == "float16":
            return 0
        if self.epochs is None:
            return usual_epochs(parent.train) if self.format == "int4" else 0
        return self.epochs


def child(run: Path, wish: Rounding, into: Path | None, limits: Budget = Budget()) -> Child:
    """The run that keeps a run's net in fewer bits; nothing is written yet. Raises ArtifactError, RunExists."""
    parent = runs.read_finished(run).experiment
    name = f"{parent.name or run.name}-{wish.format}"
    path = into or runs.free_path(runs.ROOT, name)
    runs.require_free(path)
    epochs = wish.epochs_of(parent)
    config = suited(wish.config(epochs), parent.model)
    if config.activations == "float" and wish.epochs is None:  # attention does not learn in rounded numbers
        epochs, config = 0, config.model_copy(update={"train": False})
    update = {
        "name": name,
        "train": gentle(parent.train, epochs, run.as_posix(), LR_SHARE),
        "model": parent.model.shipped,  # whose weights its file has
        "quantize": config,
        "distill": parent.distill if epochs else None,
        "budget": parent.budget.model_copy(update={**limits.limits(), "floor": None}),
        **dict.fromkeys(("published", "expect", "parent", "teachers")),
    }
    facts = {"command", "hardware", "time", "purpose", "source"}
    text = toml_text.document(
        {
            "purpose": f"{parent.name or run.name} in {wish.format}",
            "source": f"snug compress {run} --{wish.format}",
            **parent.model_copy(update=update).plain(exclude_defaults=True, exclude=facts),
        }
    )
    return Child(path, recipe.parse(text + "\n", str(path / "recipe.toml"), name, wish.changes))
