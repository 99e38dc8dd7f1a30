"""The nets of other runs that a training needs: whose weights it begins with (`train.init_from`) and who teaches it
(`distill.teachers`). Which files these mean, and whether they fit.

The rules stand in docs/recipes.md, and nothing beyond them is tried. Without `train.transfer` every tensor must fit.
With it, the classifier is fresh where the classes have other names, and the first filters are made for another number
of channels; all else must fit as ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from snugnet import artifact, recipe, runs, toml_text
from snugnet.artifact import Shipped, shipped_tensors
from snugnet.data import sources
from snugnet.data.config import DataConfig, Normalization
from snugnet.data.images import DataInfo
from snugnet.data.splits import Splits
from snugnet.errors import ArtifactError, RecipeError
from snugnet.models.resnet import build_meta
from snugnet.models.spec import ModelSpec
from snugnet.problems import nearest
from snugnet.recipe import Experiment, Parent
from snugnet.runs import RunRecord

MOST_SHOWN = 3
SIZES = ("in_channels", "image_size", "classes")  # a net takes them from its data
INIT_FROM, TEACHERS = "train.init_from", "distill.teachers"
AS_PARENT, AS_TEACHER = "begins with its weights", "learns from it"  # what a run does with a file
FIRST, CLASSIFIER = "stem.conv.weight", ("head.classifier.weight", "head.classifier.bias")


@dataclass(frozen=True)
class Transfer:
    """What a net takes from a parent: `tensors` by name, of which `remade` were made for its channels; the others of
    its own are `fresh`, and why."""

    tensors: dict[str, Tensor]
    remade: str | None
    fresh: tuple[str, ...]
    reason: str

    @property
    def words(self) -> str:
        fresh = f"fresh are {', '.join(self.fresh)} ({self.reason})" if self.fresh else "none is fresh"
        return f"{len(self.tensors)} tensors are taken from it{self.remade or ''}; {fresh}"


@dataclass(frozen=True)
class Found:
    """A parent or a teacher that fits; `trained_on` is None of a file without its run."""

    parent: Parent
    shipped: Shipped
    trained_on: DataConfig | None
    transfer: Transfer | None = None  # None where every tensor is taken

    def doubts(self, experiment: Experiment, data: Splits) -> Iterator[str]:
        """What a user should know of going on from these weights. None of it is an error: going on with other data or
        constants is a way to train, and the shipped file carries its own constants."""
        path, before, here = self.parent.path, self.shipped.card, data.normalization
        if (there := _shown(before.normalization)) != _shown(here):
            yield (
                f"{path}: learned images normalised by {there}, here it is {_shown(here)}; "
                "set data.normalize where they should be the same"
            )
        if self.transfer is not None:
            yield self.transfer.words
        elif before.classes != data.info.classes:
            yield f"{path}: its classes are {_some(before.classes)}, here they are {_some(data.info.classes)}"
        yield from self.leaks(experiment, data)

    def leaks(self, experiment: Experiment, data: Splits) -> Iterator[str]:
        """What a val accuracy is worth that hangs on this net."""
        if self.transfer is not None and self.shipped.card.classes != data.info.classes:
            return  # of another data set, whose images are others
        if len(data.val) and self.trained_on is not None and _may_know_val(self.trained_on, experiment.data):
            yield (
                f"{self.parent.path}: may have learned images that are val here, and val accuracy may be too high; "
                "give both recipes the same data.train_on and data.val_fraction"
            )


def find(experiment: Experiment) -> Found | None:
    """The parent of a training; None where it begins afresh. Reads no image. Raises RecipeError, ArtifactError.

    An experiment whose parent stands in it, a pruned net's, begins with that one.
    """
    if experiment.parent is not None:
        made = read(experiment.parent)
        _check_same(made, experiment.model)
        return Found(experiment.parent, made, None)
    given = experiment.train.init_from
    if given is None:
        return None
    shipped, record = opened(given, experiment.seed, INIT_FROM)
    _check_trainable(shipped)
    taken = None
    if experiment.train.transfer:
        taken = transfer(shipped, experiment.model, sources.describe(experiment.data).classes)
    else:
        _check_same(shipped, experiment.model)
    return _found(shipped, record, taken)


def teachers(experiment: Experiment) -> tuple[Found, ...]:
    """The teachers of a training, in their order. Reads no image. Raises RecipeError, ArtifactError, DataError."""
    if experiment.distill is None:
        return ()
    info, known = sources.describe(experiment.data), dict[str, Found]()
    for number, given in enumerate(experiment.distill.teachers):
        key = f"{TEACHERS}.{number}"
        found = _found(*opened(given, experiment.seed, key))
        path, digest = found.parent.path, found.parent.sha256
        if digest in known:
            raise RecipeError(f"{key}: {path}: is the net of {known[digest].parent.path}; name each teacher once")
        _check_teaches(found.shipped, info, f"{key}: {path}")
        known[digest] = found
    return tuple(known.values())


def _found(shipped: Shipped, record: RunRecord | None, taken: Transfer | None = None) -> Found:
    parent = Parent(
        path=shipped.path.as_posix(),
        sha256=sha256_of(shipped.path),
        recipe_sha256=None if record is None else record.experiment.sha256,
    )
    return Found(parent, shipped, None if record is None else record.experiment.data, taken)


def opened(given: str, seed: int, key: str = INIT_FROM) -> tuple[Shipped, RunRecord | None]:
    """What a name means to a training with that seed, and the run that it lies in; None of a file alone. Raises
    RecipeError, ArtifactError."""
    place = _located(given, seed, key)
    record = None if place.is_file() else runs.read_finished(place)
    return artifact.read(runs.shipped_file(place)), record


def begin(model: nn.Module, parent: Parent, experiment: Experiment, classes: tuple[str, ...]) -> None:
    """Puts the parent's weights into a fresh net. Raises ArtifactError where its file is not what was found."""
    shipped = read(parent)
    if experiment.train.transfer:
        taken = transfer(shipped, experiment.model, classes).tensors
        model.load_state_dict(model.state_dict() | taken)
    else:
        model.load_state_dict(shipped.model.state_dict())


def transfer(shipped: Shipped, spec: ModelSpec, classes: tuple[str, ...]) -> Transfer:
    """What a net of `spec` for `classes` takes. Raises RecipeError where more than classes and channels differ."""
    tensors, known = shipped_tensors(shipped.model), shipped.card.classes
    fresh = () if known == classes else CLASSIFIER
    taken = {name: value for name, value in tensors.items() if name not in fresh}
    there, here = shipped.card.model.in_channels, spec.in_channels
    remade = None
    if there != here and FIRST in taken:
        taken[FIRST] = for_channels(taken[FIRST], here)
        remade = f", {FIRST} made for {here} channels of {there}"
    needed = {name: shape for name, shape in _shapes(build_meta(spec)).items() if name not in fresh}
    _check_fits(shipped, spec, {name: tuple(value.shape) for name, value in taken.items()}, needed)
    return Transfer(taken, remade, fresh, f"its classes are {_some(known)}, here they are {_some(classes)}")


def for_channels(filters: Tensor, channels: int) -> Tensor:
    """Filters (out, C, k, k) for another C: summed over channels and spread evenly, so that an image whose channels are
    all equal gets the response that it had."""
    return filters.sum(1, keepdim=True).div(channels).repeat(1, channels, 1, 1)


def read(parent: Parent, role: str = AS_PARENT) -> Shipped:
    """Raises ArtifactError where its file is gone, damaged, or not the one that was found."""
    path, remedy = Path(parent.path), "put that file back, or train again in another directory"
    if not path.is_file():
        raise ArtifactError(f"{path}: this run {role}, but it is not there (from {Path.cwd()}); {remedy}")
    if (seen := sha256_of(path)) != parent.sha256:
        raise ArtifactError(
            f"{path}: this run {role} as of SHA-256 {parent.sha256[:12]}..., but the file has {seen[:12]}... now; "
            f"{remedy}"
        )
    return artifact.read(path)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _located(given: str, seed: int, key: str) -> Path:
    """The run directory or the shipped file that is meant by the value of `key`."""
    if given in recipe.builtin_names() or given.endswith(".toml"):
        return _newest(given, seed, key)
    path = Path(given).expanduser()
    if not path.exists():
        raise RecipeError(
            f"{key}: {given}: must be a run, a shipped file or a recipe, but there is none of that name"
            f"{nearest(given, recipe.builtin_names()) or '; `snug recipes` lists the built-in recipes'}"
        )
    if not path.is_dir() or runs.read_group(path) is None:
        return path
    members = {member.name: member for member in runs.members(path)}
    if (name := f"seed-{seed}") not in members:
        raise RecipeError(
            f"{key}: {path}: must hold a run of this training's seed, {name}, but holds "
            f"{_some(tuple(members)) or 'none'}; train that seed, or name one run for all seeds"
        )
    return members[name]


def _newest(given: str, seed: int, key: str) -> Path:
    """The run of a recipe that finished last. Not of its name alone: a try with fewer epochs is another experiment."""
    wanted = recipe.load(given).experiment
    named = [record for record in runs.readable(runs.ROOT) if record.config.get("name") == wanted.name]
    unfit = {str(record.path): why for record in named if (why := _why_not(record, wanted, seed))}
    if fit := [record for record in named if str(record.path) not in unfit]:
        return max(fit, key=lambda record: (record.summary["date"], record.path)).path
    option = f" --seed {seed}" * (seed != wanted.seed)
    seen = ", ".join(f"{path} {why}" for path, why in islice(reversed(unfit.items()), MOST_SHOWN))
    raise RecipeError(
        f"{key}: {given}: needs a finished run of that recipe as it stands, with seed {seed}, in "
        f"{runs.ROOT}, and there is none{seen and f' ({seen})'}; make it with `snug train {given}{option}`, "
        f"or name another by --set {key}=RUN"
    )


def _why_not(record: RunRecord, wanted: Experiment, seed: int) -> str:
    """ "" for a finished run of the recipe with that seed."""
    if not record.summary:
        return "is not finished"
    try:
        found = record.experiment
    except ArtifactError:
        return "is of another version"
    if found.seed != seed:
        return f"has seed {found.seed}"
    net = wanted.model.model_copy(update={name: getattr(found.model, name) for name in SIZES})
    fitted = wanted.model_copy(update={"model": net})
    is_same = found.model_copy(update={"parent": None, "teachers": None}).sha256 == fitted.sha256
    return "" if is_same else "was trained with other values"


def _check_trainable(shipped: Shipped) -> None:
    """Raises RecipeError for a net in integers."""
    if (kept := shipped.card.quantization) and kept.weights != "float16":
        raise RecipeError(
            f"train.init_from: {shipped.path}: must hold weights that can be trained, but they are {kept.weights}; "
            "name the run that it was made from"
        )


def _check_same(shipped: Shipped, spec: ModelSpec) -> None:
    """Raises RecipeError where a net does not hold the very tensors of another."""
    _check_fits(shipped, spec, _shapes(shipped.model), _shapes(build_meta(spec)))


Shapes = dict[str, tuple[int, ...]]


def _check_fits(shipped: Shipped, spec: ModelSpec, there: Shapes, here: Shapes) -> None:
    """Raises RecipeError with the first tensor that differs, and where the two specifications do."""
    difference = next(_differences(there, here), None)
    if difference is None:
        return
    specs = islice(_differences(shipped.card.model.plain(), spec.plain(), "model"), MOST_SHOWN)
    raise RecipeError(
        f"{INIT_FROM}: {shipped.path}: must hold the tensors of the net, but {'; '.join((difference, *specs))}; "
        "give both the same [model], or leave init_from out"
    )


def _check_teaches(shipped: Shipped, info: DataInfo, subject: str) -> None:
    """Raises RecipeError where a net cannot read the student's images, or speaks of other classes."""
    spec, there, here = shipped.card.model, set(shipped.card.classes), set(info.classes)
    reads, has = (spec.in_channels, spec.image_size), (info.channels, info.image_size)
    if reads != has:
        raise RecipeError(
            f"{subject}: must read images of {info.name}, {_sized(*has)}, but reads {_sized(*reads)}; "
            "choose a teacher that was trained on such images"
        )
    if there != here:
        lacks = [f"lacks {_some(missing)}"] if (missing := [each for each in info.classes if each not in there]) else []
        other = [f"has {_some(more)}"] if (more := [each for each in shipped.card.classes if each not in here]) else []
        raise RecipeError(
            f"{subject}: must know the classes of {info.name}, in any order, but {' and '.join(lacks + other)}; "
            "choose a teacher of the same classes"
        )


def _sized(channels: int, side: int) -> str:
    return f"{side}x{side} with {channels} channel{'s' * (channels != 1)}"


def _shapes(model: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in shipped_tensors(model).items()}


def _differences(there: Any, here: Any, path: str = "") -> Iterator[str]:
    """In words, where two trees of plain data differ, in the order of the second."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in here | there:
            yield from _differences(there.get(key), here.get(key), f"{path}.{key}".removeprefix("."))
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for number, pair in enumerate(zip(there, here, strict=True)):
            yield from _differences(*pair, f"{path}.{number}")
    elif there != here:
        yield f"{path} is {_value(there)} in the file and {_value(here)} here"


def _value(value: Any) -> str:
    if value is None:
        return "not there"
    text = str(value) if isinstance(value, tuple) else toml_text.inline(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _may_know_val(before: DataConfig, here: DataConfig) -> bool:
    """Val is what hashes lowest, and a smaller one lies inside a larger one."""
    return before.train_on == "all" or before.val_fraction < here.val_fraction


def _shown(constants: Normalization) -> str:
    """As exactly as a shipped file keeps them."""
    mean, std = (", ".join(f"{value:.6f}" for value in values) for values in (constants.mean, constants.std))
    return f"mean {mean} and std {std}"


def _some(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:MOST_SHOWN])) + (", ..." if len(values) > MOST_SHOWN else "")
