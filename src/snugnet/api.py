"""snugnet as a library: what the commands do, as functions. `import snugnet` offers them; docs/library.md shows them.

A recipe is given as a built-in name, a path, TOML text, a dict or a `Recipe`; a run as its directory or its
`RunRecord`. Every error that is not a bug is a `SnugError` (snugnet.errors), in the words that the command line prints.
Accuracies are fractions, sizes bytes, times seconds.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from snugnet import (
    compare,
    design,
    finetune,
    judging,
    pipeline,
    problems,
    recipe,
    runs,
    scoring,
    toml_text,
    units,
)
from snugnet.artifact import Shipped
from snugnet.budget import Budget, Cost, price
from snugnet.compare import Comparison
from snugnet.data import given, splits
from snugnet.data.config import DataConfig, Normalization
from snugnet.data.images import SPLITS, Images
from snugnet.device import find_device
from snugnet.errors import Interrupted, RecipeError, UsageError
from snugnet.evaluate import calibration
from snugnet.evaluate.tta import TtaConfig, TtaName
from snugnet.export import reading
from snugnet.pipeline import Controls, Observer
from snugnet.problems import nearest
from snugnet.recipe import Recipe
from snugnet.runs import RunRecord
from snugnet.stopping import Stopper
from snugnet.track import available
from snugnet.track.observer import along, recorded

RecipeLike = str | Path | Mapping[str, Any] | Recipe
RunLike = str | Path | RunRecord
LOG = logging.getLogger("snugnet")  # what the command line prints as notes
DICT = "the dict"  # what messages call a recipe that is given as one


def load_recipe(
    source: RecipeLike,
    changes: Mapping[str, Any] | None = None,
    *,
    data: str | None = None,
    budget: str | Budget | None = None,
) -> Recipe:
    """A recipe, every value resolved: they stand in its `.experiment`.

    `changes` as `--set`: {"train.epochs": 3}; `data` as `--data`; `budget` as `--budget`: "params=5M,bytes=1MB".
    Raises RecipeError with all problems at once.
    """
    if isinstance(source, Recipe):
        if changes:
            raise RecipeError("changes: are made where a recipe is read; give its name, path, text or dict with them")
        loaded = source
    else:
        text, where, title = _text(source)
        loaded = _parsed(text, where, title, _settings(changes))
    loaded = loaded.with_data(data)
    return loaded if budget is None else loaded.with_budget(_limits(budget))


def finetune_recipe(weights: RunLike, data: str, changes: Mapping[str, Any] | None = None, *, seed: int = 0) -> Recipe:
    """The recipe that goes on with the weights of a run, a shipped file or a recipe's newest run, on images of one's
    own: `snug train --from WEIGHTS --data DATA`. docs/own-data.md says what it keeps and what it decides.

    Raises ArtifactError, DataError, RecipeError.
    """
    text = str(_path(weights)) if isinstance(weights, RunRecord) else str(weights)
    return finetune.own_data(text, data, _settings(changes), seed)


def price_recipe(source: RecipeLike, budget: str | Budget | None = None, *, check: bool = True) -> Cost:
    """What its net costs, before any image is read: `params`, `bytes`, `macs`, `peak_activation_bytes`, `layers`, ...

    It is held to `budget`, else to the recipe's own, unless `check` is False: raises OverBudget with the excess and
    the largest width that fits. Raises RecipeError, DataError.
    """
    loaded = load_recipe(source, budget=budget)
    card = pipeline.planned_card(loaded.experiment, force=_has_other_data(loaded))
    cost = price(card)
    limits = loaded.experiment.budget
    if check:
        name = loaded.experiment.name or "the design"
        design.require_fit(cost, limits, name, lambda: design.suggestion(card, limits))
    return cost


def train_recipe(
    source: RecipeLike,
    run: str | Path | None = None,
    *,
    seed: int | None = None,
    device: str = "auto",
    stop_after: str | float | None = None,
    observe: Observer | None = None,
    trackers: str | Iterable[str] = (),
) -> RunRecord:
    """Trains in a new run directory, else runs/<recipe>-<number>; ships, judges what shipped, and returns the record.

    `observe` is told each `Step` and each `Epoch` (snugnet.train.loop): what it raises ends the training there.
    `trackers` are of "tensorboard", "wandb", "mlflow".
    After `stop_after` ("50m", or seconds) training ends cleanly; the record's `summary` is then empty, and
    `resume_run` goes on, bitwise as if it had never stopped. Ctrl-C does the same, but raises Interrupted.
    Raises OverBudget before any image is read; RunExists, RecipeError, DataError, Diverged, StorageError, MissingExtra.
    """
    names = available(trackers)
    loaded = load_recipe(source)
    if seed is not None:
        loaded = loaded.with_seed(seed)
    path = runs.free_path(runs.ROOT, loaded.experiment.name) if run is None else Path(run)
    controls = _controls(device, stop_after, observe)
    with _stopped_on_time(controls):
        force = _has_other_data(loaded)
        along(names, path, controls, lambda told: pipeline.start(loaded, path, told, force=force))
    return runs.read(path)


def resume_run(
    run: RunLike,
    *,
    device: str = "auto",
    stop_after: str | float | None = None,
    observe: Observer | None = None,
    trackers: str | Iterable[str] | None = None,
) -> RunRecord:
    """Goes on exactly where a run stopped; a finished one is returned as it is. As `train_recipe` otherwise.

    `trackers` None: those that the run has, in the same tracked runs.
    """
    path, controls = _path(run), _controls(device, stop_after, observe)
    names = available(recorded(path) if trackers is None else trackers)
    with _stopped_on_time(controls):
        along(names, path, controls, lambda told: pipeline.resume(path, told))
    return runs.read(path)


def open_run(run: str | Path) -> RunRecord:
    """A run directory as read: `summary` (empty while it is not finished), `config`, `metrics` (a dict an epoch),
    `predictions(split)`. Raises ArtifactError."""
    return runs.read(Path(run))


def evaluate_run(
    run: RunLike, split: str = "test", *, data: str | None = None, tta: str | None = None
) -> dict[str, Any]:
    """Scores of a run's shipped file, or of a shipped file: as `snug evaluate --json` prints them.

    `split` is "train", "val" or "test"; `data` another data set of the same classes; `tta` several views an image.
    Raises ArtifactError, DataError, UsageError.
    """
    return judging.evaluate(_path(run), _split(split), data, _views(tta))


@dataclass(frozen=True)
class Predictions:
    """Of N images: the most probable class of each, the probabilities of all, and the class of each column."""

    classes: tuple[str, ...]  # (N,)
    probabilities: Tensor  # float32 (N, C) on the CPU, rows sum to 1
    columns: tuple[str, ...]  # (C,)


def predict_images(run: RunLike, images: Any, *, temperature: float = 1.0, device: str = "auto") -> Predictions:
    """What a run, or a shipped file, says of images: files, Pillow images, uint8 arrays (H, W, C), uint8 tensors
    (C, H, W); one of them, a list, or a batch with N in front.

    Other sizes are brought to the net's as image folders are: shorter side first, then the centre. Normalisation is the
    file's own. The logits are divided by `temperature`, such as `evaluate_run` gives; it moves probabilities and no
    class. Raises ArtifactError, DataError, UsageError.
    """
    if not temperature > 0:
        raise UsageError(f"temperature: must be above 0; got {temperature:g}; 1 changes nothing")
    shipped = _shipped(_path(run))
    spec, columns = shipped.card.model, shipped.card.classes
    pixels = given.pixels(images, spec.in_channels, spec.image_size)
    unknown = torch.zeros(len(pixels), dtype=torch.int64)
    logits = scoring.logits_of(shipped, Images(pixels, unknown, None), find_device(device))
    return Predictions(tuple(columns[k] for k in logits.argmax(1).tolist()), (logits / temperature).softmax(1), columns)


def judge_net(
    net: nn.Module,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    *,
    data: str | None = None,
    split: str = "test",
    normalize: tuple[Iterable[float], Iterable[float]] | None = None,
    classes: Iterable[str] | None = None,
) -> dict[str, Any]:
    """What `evaluate_run` says of a run, of any classifier, from wherever: (N, C, H, W) to logits (N, classes), on the
    device it lies on, in fp32.

    Either `images` float (N, C, H, W), shown to the net as they are, with `labels` int64 (N,); or `data`, a data name
    or path, whose `split` is shown normalised by `normalize`, (mean, std) of pixel / 255, else by the statistics of its
    training images, and whose val a temperature is fitted on. Label k is `classes[k]`, else the data's own class, else
    a number. The net is left in its mode. Raises UsageError, DataError; Diverged where logits are not finite.
    """
    names = None if classes is None else tuple(classes)
    if data is None:
        fits = images is not None and images.is_floating_point() and images.ndim == 4
        if images is None or labels is None or not fits or normalize is not None:
            raise UsageError(
                "judge_net: takes float images (N, C, H, W) that are normalised already, with their labels, or data, "
                f"whose images it normalises; got images {_kind(images)}, labels {_kind(labels)}, normalize {normalize}"
            )
        return judging.score_module(net, images, labels.long(), names)
    if images is not None or labels is not None:
        raise UsageError("judge_net: takes images with labels, or data, but got both; leave one out")
    config, constants = DataConfig(name=data), _normalization(normalize)
    found = splits.open_splits(config)
    held = judging.chosen(found, config, _split(split))
    document = judging.score_module(
        net,
        held.pixels,
        held.labels,
        names or found.info.classes,
        normalization=constants or found.normalization,
        val=(found.val.pixels, found.val.labels) if len(found.val) else None,
    )
    if split == "val" and document["temperature"]:
        document["temperature_note"] = calibration.FLATTERED
    return document


def compare_runs(*compared: RunLike) -> Comparison:
    """Runs side by side: means over seeds, Pareto front, paired tests over seeds and images, each with its verdict.

    The directory of several seeds stands for all of them. Raises ArtifactError, DataError, UsageError.
    """
    return compare.compare([runs.read(path) for each in compared for path in runs.members(_path(each))])


def _text(source: str | Path | Mapping[str, Any]) -> tuple[str, str, str]:
    """A recipe's text, what messages call it, and its name."""
    if isinstance(source, Mapping):
        return toml_text.document({key: _said(key, value) for key, value in source.items()}), DICT, ""
    if isinstance(source, str) and "\n" in source:
        return source, "the text", ""
    title, text, where = recipe.find(str(source))
    return text, where, title


def _parsed(text: str, where: str, title: str, settings: list[str]) -> Recipe:
    try:
        return recipe.parse(text, where, title, settings)
    except RecipeError as error:
        if where != DICT:
            raise
        lines = [re.sub(rf"^{DICT}:\d+", DICT, line) for line in error.problems]  # its lines are ours
        raise RecipeError(*lines) from None


def _settings(changes: Mapping[str, Any] | None) -> list[str]:
    return [f"{key}={toml_text.inline(_said(key, value))}" for key, value in (changes or {}).items()]


def _said(path: str, value: Any) -> Any:
    """The value, once it is known that TOML can say it. Raises RecipeError."""
    if isinstance(value, Mapping):
        return {key: _said(f"{path}.{key}", item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_said(f"{path}.{place}", item) for place, item in enumerate(value)]
    if not isinstance(value, (str, bool, int, float)):
        kinds = "a text, a number, a boolean, a list or a dict"
        raise RecipeError(f"{path}: must be {kinds}; got {value!r}: leave out what is to keep its default")
    return value


def _limits(text: str | Budget) -> Budget:
    if isinstance(text, Budget):
        return text
    return design.parse_budget(text, lambda name: price(pipeline.planned_card(recipe.load(name).experiment)))


def _has_other_data(loaded: Recipe) -> bool:
    """Whether the caller named other data than the recipe's, to which the net is then fitted."""
    return loaded.origin("data.name") == recipe.OTHER_DATA


def _path(run: RunLike) -> Path:
    return run.path if isinstance(run, RunRecord) else Path(run)


def _shipped(path: Path) -> Shipped:
    return reading.read(runs.shipped_file(path))


def _split(name: str) -> str:
    if name not in SPLITS:
        raise UsageError(f"split: must be one of {', '.join(SPLITS)}; got {name!r}{nearest(name, SPLITS)}")
    return name


def _views(name: str | None) -> TtaConfig | None:
    known = get_args(TtaName)
    if name is not None and name not in known:
        raise UsageError(f"tta: must be one of {', '.join(known)}; got {name!r}{nearest(name, known)}")
    return None if name is None else TtaConfig.parse({"name": name})


def _controls(device: str, stop_after: str | float | None, observe: Observer | None) -> Controls:
    try:
        stopper = Stopper(None if stop_after is None else units.parse_seconds(stop_after))
    except ValueError as error:
        raise UsageError(f"stop_after: {error}") from error
    return Controls(device=device, stopper=stopper, warn=LOG.warning, observe=observe or (lambda progress: None))


@contextmanager
def _stopped_on_time(controls: Controls) -> Iterator[None]:
    """A training that its deadline ended is no error."""
    try:
        yield
    except Interrupted:
        if not controls.stopper.only_deadline:
            raise


def _normalization(given: tuple[Iterable[float], Iterable[float]] | None) -> Normalization | None:
    if given is None:
        return None
    mean, std = given
    try:
        return Normalization.parse({"mean": [*mean], "std": [*std]})
    except ValidationError as error:
        raise UsageError("\n".join(problems.explain(error, Normalization, "normalize", {}))) from error


def _kind(tensor: Tensor | None) -> str:
    return "None" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
