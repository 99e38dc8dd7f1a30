"""A recipe is a TOML file; an Experiment is what it says, every value resolved.

The loader is strict: every unknown, missing, mistyped or out-of-range key is reported, all at once, each with the file,
the line, the path of the key and the nearest name there is.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from snugnet import builtin, foreign, problems, toml_lines
from snugnet.budget import Budget
from snugnet.builtin import MOST_CHARACTERS
from snugnet.compress.config import QuantizeConfig
from snugnet.config import Frozen
from snugnet.data.config import DataConfig
from snugnet.errors import RecipeError
from snugnet.evaluate.tta import TtaConfig
from snugnet.models.spec import LIST_FORM, ModelSpec
from snugnet.problems import shortened
from snugnet.train.config import TrainConfig
from snugnet.train.distill import DistillConfig

Fraction = Annotated[float, Field(ge=0, le=1)]
MOST_DEPTH, MOST_DOTS = 32, 200  # of tables in tables; of one key, which takes the parser their square
OTHER_DATA = "--data"  # the origin of a data name that is not the recipe's
BY_RUNS = {"parent": "train.init_from", "teachers": "distill.teachers"}  # and what says the same in a recipe


class Published(Frozen):
    """What a paper prints. Gates nothing."""

    accuracy: Fraction | None = None
    train_accuracy: Fraction | None = None
    params: str | None = None  # as printed
    size_mb: Annotated[float, Field(gt=0)] | None = None
    ms: Annotated[float, Field(gt=0)] | None = None  # an image, on the paper's machine
    note: str | None = None


class Expect(Frozen):
    """What we measured; `snug verify` holds a run against it. Accuracies are of the test split, as fractions."""

    params: int | None = None
    bytes: int | None = None
    accuracy: Fraction | None = None  # mean over n seeds
    accuracy_std: Fraction | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    epochs: int | None = None  # the expectation holds for this many


class Parent(Frozen):
    """The net that a run began with, or a teacher of it: what `train.init_from` or an item of `distill.teachers` was
    found to mean. Written by a run, never by hand."""

    path: str  # of the shipped file, as it was found
    sha256: str  # of that file
    recipe_sha256: str | None = None  # of the experiment that trained it; None of a file without its run


class Experiment(Frozen):
    """Everything that determines a run."""

    name: str = ""  # where it came from: a built-in name or the file's stem
    purpose: str = ""
    source: str = ""
    command: str = ""
    hardware: str = ""
    time: str = ""
    seed: Annotated[int, Field(ge=0, le=2**32)] = 0
    model: ModelSpec
    data: DataConfig = DataConfig()
    train: TrainConfig
    distill: DistillConfig | None = None
    budget: Budget = Budget()
    quantize: QuantizeConfig | None = None  # how the net ships; None: in float32
    tta: TtaConfig | None = None  # the test split is judged this way as well
    published: Published | None = None
    expect: Expect | None = None
    parent: Parent | None = None
    teachers: tuple[Parent, ...] | None = None

    @model_validator(mode="after")
    def _rounds_what_is_learned(self) -> Self:
        if self.quantize and self.quantize.train and self.train.init_from is None:
            raise ValueError("quantize.train goes on from a trained net; give train.init_from, the run that has it")
        return self

    @property
    def foreign_code(self) -> list[str]:
        """Import paths of the user's own code that a training runs, sorted."""
        named = [stage.block for stage in self.model.stages] + [change.op for change in self.train.augment]
        return sorted({name for name in (*named, self.train.loss) if foreign.is_path(name)})

    @property
    def sha256(self) -> str:
        """Of all that shapes the result but the seed: runs that share it are seeds of one experiment.

        Values at their defaults are left out, so that a new field does not make an old recipe another one.
        Of the user's own code it knows import paths and options; environment.json has the fingerprints of the files.
        """
        held = {"memory"} if self.data.memory == "ram" else None  # "auto" is that or "map", decided before training
        shaping = (self.model.plain(exclude_defaults=True), self.data.plain(exclude_defaults=True, exclude=held))
        parts = [*shaping, self.train.plain(exclude_defaults=True, exclude={"log_every", "init_from"})]
        if self.quantize:
            parts.append({"quantize": self.quantize.plain(exclude_defaults=True)})
        if begins_with := self._begins_with:
            parts.append({"begins_with": begins_with})
        if self.distill:
            how = self.distill.plain(exclude_defaults=True, exclude={"teachers"})
            parts.append({"distill": how, "taught_by": self._taught_by})
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def _begins_with(self) -> str | None:
        """The experiment that trained the parent. Not its path or seed: seeds of one experiment differ in those, and
        experiments that went on from different ones must not look the same. Of a file without its run its bytes stand
        for it; of a parent not yet found, its name."""
        if self.parent is None:
            return self.train.init_from
        return self.parent.recipe_sha256 or self.parent.sha256

    @property
    def _taught_by(self) -> list[str]:
        """The experiments that trained the teachers, likewise."""
        if self.teachers is None:
            return list(self.distill.teachers) if self.distill else []
        return [teacher.recipe_sha256 or teacher.sha256 for teacher in self.teachers]


@dataclass(frozen=True)
class Recipe:
    """An experiment, the text it came from, and where each value was set: "line 12", "--set" or nothing (a default)."""

    experiment: Experiment
    text: str
    origins: dict[str, str]

    def origin(self, path: str) -> str:
        """Where a value was set; what stands in a list or table that was set as a whole, with the whole of it."""
        around = path
        while around and around not in self.origins:
            around = around.rpartition(".")[0]
        if around != path and any(other.startswith(f"{around}.") for other in self.origins):
            return "default"  # the table's own keys are known, and this is none of them
        return self.origins.get(around, "default")

    def with_data(self, name: str | None) -> Recipe:
        """The same recipe on other data."""
        if name is None:
            return self
        data = self.experiment.data.model_copy(update={"name": name})
        return self._with("data.name", OTHER_DATA, data=data)

    def with_budget(self, budget: Budget) -> Recipe:
        return self._with("budget", "--budget", budget=budget)

    def with_seed(self, seed: int) -> Recipe:
        return self._with("seed", "--seeds", seed=seed)

    def _with(self, path: str, origin: str, **changes: Any) -> Recipe:
        return Recipe(self.experiment.model_copy(update=changes), self.text, _moved(self.origins, path, origin))


def builtin_names() -> list[str]:
    """Names of the recipes in the package, sorted."""
    return builtin.names()


def find(name: str) -> tuple[str, str, str]:
    """(recipe name, text, what messages call it) of a built-in name or a path. Raises RecipeError."""
    return builtin.find(name)


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or path, with `section.key=value` overrides applied. Raises RecipeError."""
    title, text, where = find(name)
    return parse(text, where, title, overrides)


def parse(text: str, where: str, title: str = "", overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from its text; `where` is what messages call it."""
    data = _tree(text, where)
    keys, headers = toml_lines.locate(text)
    origins = {_named(path): f"line {line}" for path, line in keys.items()}
    places = {path: f"line {line}" for path, line in headers.items()}
    for override in overrides:
        path = _override(data, override)
        origins = _moved(origins, path, "--set")
        for table in _tables_around(path):
            places.setdefault(table, "--set")
    for name, key in BY_RUNS.items():
        if name in data:
            raise RecipeError(f"{where}: {name}: is written by a run, never by hand; give {key}")
    if _is_deep(data, MOST_DEPTH):
        raise RecipeError(f"{where}: tables and lists must be at most {MOST_DEPTH} deep, one in the other; flatten it")
    data.setdefault("name", title)
    try:
        experiment = Experiment.parse(data)
    except ValidationError as error:
        raise RecipeError(*problems.explain(error, Experiment, where, places | origins)) from error
    return Recipe(experiment, text, origins)


def _tree(text: str, where: str) -> dict[str, Any]:
    """What the text says, of which a stranger's may be made to take a parser's time and stack."""
    if len(text) > MOST_CHARACTERS:
        raise RecipeError(f"{where}: must be at most {MOST_CHARACTERS:,} characters; a recipe holds no data")
    if max(part.count(".") for part in re.split(r"[=\n]", text)) > MOST_DOTS:
        raise RecipeError(f"{where}: a line must have at most {MOST_DOTS} dots; break it up")
    try:
        return tomllib.loads(text)
    except ValueError as error:  # of a whole number of thousands of digits as well
        raise RecipeError(f"{where}: not TOML: {shortened(str(error))}") from error
    except RecursionError as error:
        raise RecipeError(f"{where}: not TOML: it is nested too deep") from error


def _is_deep(data: Any, most: int) -> bool:
    layer = [data]
    for _ in range(most):
        nested = [item for item in layer if isinstance(item, (dict, list))]
        layer = [inner for item in nested for inner in (item.values() if isinstance(item, dict) else item)]
    return any(isinstance(item, (dict, list)) for item in layer)


def _named(path: str) -> str:
    """Items of a stage that is written as a list, ["basic", 2, 64], by the names of their fields."""
    table, _, item = path.rpartition(".")
    is_stage = re.fullmatch(r"model\.stages\.\d+", table) and item.isdecimal() and int(item) < len(LIST_FORM)
    return f"{table}.{LIST_FORM[int(item)]}" if is_stage else path


def _moved(origins: dict[str, str], path: str, origin: str) -> dict[str, str]:
    """The origins once `path` and all under it are set from elsewhere."""
    return {key: value for key, value in origins.items() if not key.startswith(f"{path}.")} | {path: origin}


def _tables_around(path: str) -> list[str]:
    """ "model", "model.stem" for "model.stem.kernel"."""
    keys = path.split(".")
    return [".".join(keys[:depth]) for depth in range(1, len(keys))]


def _override(data: dict[str, Any], override: str) -> str:
    """Applies one `section.key=value`; the value is TOML, or a bare text. Returns the key's path."""
    path, equals, value = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise RecipeError(f"--set {shortened(override)}: must be section.key=value, for example --set train.epochs=5")
    override = shortened(override)
    target: Any = data
    for depth, key in enumerate(keys[:-1]):
        place: Any = _index(target, key, override) if isinstance(target, list) else key
        if isinstance(target, dict):
            target.setdefault(key, {})
        if _is_stage_as_list(keys[: depth + 2], target[place]):
            target[place] = dict(zip(LIST_FORM, target[place], strict=False))
        target = target[place]
        if not isinstance(target, (dict, list)):
            raise RecipeError(
                f"--set {override}: {'.'.join(keys[: depth + 1])} is a value, it has no key {keys[depth + 1]!r}"
            )
    last: Any = _index(target, keys[-1], override) if isinstance(target, list) else keys[-1]
    target[last] = _toml_value(value.strip())
    return ".".join(keys)


def _is_stage_as_list(keys: list[str], value: Any) -> bool:
    """Whether the last of `keys` names a field of a stage that the recipe writes as a list."""
    is_field = keys[:2] == ["model", "stages"] and len(keys) == 4 and not keys[3].isdecimal()
    return is_field and isinstance(value, list) and len(value) <= len(LIST_FORM)


def _index(items: list[Any], key: str, override: str) -> int:
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    raise RecipeError(f"--set {override}: {key!r} must be the number of an item, 0 to {len(items) - 1}")


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
