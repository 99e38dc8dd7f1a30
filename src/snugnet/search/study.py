"""A study file: from which recipe a search sets out, what it may change, what it looks for, how, and how long.

The loader is as strict as that of recipes: everything wrong is reported at once, with its line.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from snugnet import problems, recipe, toml_lines, toml_text, units
from snugnet.budget import Budget
from snugnet.config import Frozen
from snugnet.errors import RecipeError
from snugnet.problems import nearest
from snugnet.recipe import Recipe
from snugnet.search import space
from snugnet.search.rungs import Rungs
from snugnet.search.space import Dimension, Point, Space

Natural = Annotated[int, Field(ge=1)]
Objective = Literal["accuracy", "latency", "params", "macs", "bytes", "size_mb", "peak_activation_bytes", "ram_bytes"]
UP = ("accuracy",)  # of the objectives; the others are wanted low
READS: Mapping[str, tuple[str, ...]] = {
    "grid": (),
    "random": (),
    "tpe": ("startup",),
    "nsga2": ("population",),
    "rungs": ("epochs", "keep", "designs", "startup"),
}
TRIED = 20  # points in which a value must be possible once
OWN_KEYS = ("seed", "train.epochs", "name")  # of a recipe: the study itself says them


class Method(Frozen):
    """Each line says which methods read it."""

    name: Literal["grid", "random", "tpe", "nsga2", "rungs"] = "tpe"
    startup: Natural = 10  # tpe, rungs: so many random designs come first
    population: Annotated[int, Field(ge=2)] = 20  # nsga2: designs of a generation
    epochs: Annotated[tuple[Natural, ...], Field(min_length=2)] | None = None  # rungs: of each rung, rising
    keep: Annotated[float, Field(gt=0, lt=1)] = 1 / 3  # rungs: the share that goes on to the next
    designs: Literal["random", "tpe"] = "random"  # rungs: where new designs come from

    @model_validator(mode="after")
    def _reads_what_is_given(self) -> Self:
        if ignored := sorted(self.model_fields_set - {"name", *READS[self.name]}):
            known = ", ".join(READS[self.name]) or "nothing"
            raise ValueError(f"{self.name} does not read {', '.join(ignored)}; it reads {known}")
        if self.name == "rungs":
            if self.epochs is None:
                raise ValueError("rungs needs epochs, those of each rung: epochs = [2, 6, 18]")
            Rungs(self.epochs, self.keep)
        return self


def _as_method(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping):  # what went through here is no JSON any more, whose lists are tuples
        return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return value


def _duration(text: Any) -> float:
    if not isinstance(text, (str, int, float)) or isinstance(text, bool):
        raise ValueError(f"a time must be a number of seconds or a text like '2h'; got {text!r}")
    return units.parse_seconds(text)


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"each objective must be named once; got {', '.join(names)}")
    return names


class StudyConfig(Frozen):
    """What a study file says. `trials` and `time` may be raised later; with all else it would be another study."""

    name: str = ""
    purpose: str = ""
    base: str
    set: dict[str, Any] = Field(default_factory=dict)  # changes of the base, as --set makes them
    seed: Annotated[int, Field(ge=0, le=2**32)] = 0  # of the search, and the first one of the trainings
    seeds: Natural = 1  # trainings of each design; its accuracy is their mean
    epochs: Natural | None = None  # of a trial; None: those of the base
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1), AfterValidator(_each_once)] = ("accuracy",)
    method: Annotated[Method, BeforeValidator(_as_method)] = Method()
    trials: Natural | None = None  # designs within the budget
    time: Annotated[float, BeforeValidator(_duration), Field(gt=0)] | None = None  # trainings together, in seconds
    budget: Budget | None = None  # None: that of the base
    space: Annotated[dict[str, Dimension], Field(min_length=1)]

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.trials is None and self.time is None and self.method.name != "grid":
            raise ValueError("trials or time must be given, or the search has no end")
        if self.method.epochs and self.epochs:
            raise ValueError("epochs: method.epochs says those of each rung; leave epochs out")
        return self


@dataclass(frozen=True)
class Study:
    """A study file that was found possible: the base with its changes made, and the space."""

    config: StudyConfig
    text: str
    base: Recipe
    base_text: str
    overrides: tuple[str, ...]  # of the base
    space: Space

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def budget(self) -> Budget:
        return self.base.experiment.budget

    @property
    def rung_epochs(self) -> tuple[int, ...]:
        """Epochs at which a trial is judged: one figure, but of rungs."""
        return self.config.method.epochs or (self.base.experiment.train.epochs,)

    @cached_property
    def rungs(self) -> Rungs:
        return Rungs(self.rung_epochs, self.config.method.keep)

    @cached_property
    def grid(self) -> tuple[Point, ...]:
        """Every point of the space. Raises RecipeError where that is endless, or more than anyone trains."""
        points = tuple(itertools.islice(self.space.grid(), space.MOST_POINTS + 1))
        if len(points) > space.MOST_POINTS:
            raise RecipeError(f"space: a grid of more than {space.MOST_POINTS:,} points; give fewer, or another method")
        return points

    @cached_property
    def digest(self) -> str:
        """Of all that makes it this study: two that share it may work on one storage."""
        own = self.config.plain(exclude={"purpose", "trials", "time", "base", "name"}, by_alias=True)
        base = self.base.experiment.plain(exclude={"name", "purpose", "source", "command", "hardware", "time"})
        return hashlib.sha256(json.dumps([own, base], sort_keys=True).encode()).hexdigest()

    def recipe(self, point: Point, number: int | None = None) -> Recipe:
        """The base with a point's values. Raises RecipeError."""
        settings = sorted(point.items(), key=lambda item: item[0].count("."))  # a table before what is in it
        changes = [f"{key}={toml_text.inline(value)}" for key, value in settings]
        title = self.name if number is None else f"{self.name}-{number}"
        return recipe.parse(self.base_text, self.config.base, title, [*self.overrides, *changes])


def builtin_names() -> list[str]:
    """Names of the studies in the package."""
    folder = resources.files("snugnet") / "studies"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def find(name: str) -> tuple[str, str, str]:
    """(name, text, what messages call it) of a built-in study or a path. Raises RecipeError."""
    if name in builtin_names():
        file = resources.files("snugnet") / "studies" / f"{name}.toml"
        return name, file.read_text(encoding="utf-8"), f"{name}.toml"
    path = Path(name)
    if not path.is_file():
        hint = nearest(name, builtin_names())
        raise RecipeError(f"{name}: neither a built-in study nor a file{hint}; `snug search --list` lists the built-in")
    try:
        return path.stem, path.read_text(encoding="utf-8"), str(path)
    except (UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text ({error}); a study is a TOML file") from error


def load(name: str) -> Study:
    """The study of that name or path. Raises RecipeError with all problems at once."""
    title, text, where = find(name)
    return parse(text, where, title, Path(name).parent)


def parse(text: str, where: str, title: str, folder: Path = Path()) -> Study:
    """A study from its text; a base that is a path is looked for from `folder`, then from here."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not TOML: {error}") from error
    keys, headers = toml_lines.locate(text)
    origins = {path: f"line {line}" for path, line in (headers | keys).items()}
    data.setdefault("name", title)
    if isinstance(data.get("space"), dict):
        data["space"] = dict(_flat(data["space"]))
    try:
        config = StudyConfig.parse(data)
    except ValidationError as error:
        told = problems.explain(error, StudyConfig, where, origins)
        raise RecipeError(*(line.replace(": recipe: ", ": study: ", 1) for line in told)) from error
    study = _based(config, text, where, folder, origins)
    _check(study, where, origins)
    return study


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dimensions by dotted key, quoted or not: [space.model] width = ... is "model.width"."""
    for name, value in table.items():
        key = f"{before}{name}"
        if isinstance(value, list):
            yield key, {"choices": value}
        elif isinstance(value, Mapping) and not value.keys() & set(space.KEYS):
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _based(config: StudyConfig, text: str, where: str, folder: Path, origins: Mapping[str, str]) -> Study:
    """The study with its base read and changed, and its axes. Raises RecipeError."""
    name = config.base
    if name not in recipe.builtin_names() and (folder / name).is_file():
        name = str(folder / name)
    _, base_text, _ = recipe.find(name)
    overrides = [f"{key}={toml_text.inline(value)}" for key, value in config.set.items()]
    epochs = config.method.epochs[-1] if config.method.epochs else config.epochs
    overrides += [f"seed={config.seed}"] + ([] if epochs is None else [f"train.epochs={epochs}"])
    base = recipe.load(name, overrides)
    if config.budget is not None:
        base = base.with_budget(config.budget)

    def lengths(path: str) -> int | None:
        value: Any = base.experiment.plain()
        for part in path.split("."):
            value = (
                value[int(part)] if isinstance(value, list) else value.get(part) if isinstance(value, dict) else None
            )
        return len(value) if isinstance(value, list) else None

    try:
        axes = space.build(config.space, lengths)
    except RecipeError as error:
        raise RecipeError(*(_placed(line, where, origins) for line in error.problems)) from error
    return Study(config, text, base, base_text, tuple(overrides), axes)


def _placed(problem: str, where: str, origins: Mapping[str, str]) -> str:
    """The problem of a key with the line of the key."""
    key = problem.partition(":")[0]
    while key and key not in origins:
        key = key.rpartition(".")[0]
    line = origins.get(key, "").replace("line ", ":")
    return f"{where}{line}: {problem}"


def _check(study: Study, where: str, origins: Mapping[str, str]) -> None:
    """Raises RecipeError for keys that no recipe has, values that none takes, and what leaves nothing to choose by."""
    config = study.config
    found: list[str] = []
    if config.method.name == "grid":
        try:
            _ = study.grid
        except RecipeError as error:
            found += error.problems
    if study.base.experiment.data.train_on == "all":
        found.append(f"base: {config.base} trains on all images, so there is no val to choose by; set data.train_on")
    if config.method.name == "rungs" and "accuracy" not in config.objectives:
        found.append("objectives: rungs needs accuracy, which is all that more epochs change")
    for axis in study.space.axes:
        if axis.key in OWN_KEYS or axis.key.startswith("budget"):
            found.append(f"space.{axis.key}: is no part of a design; give {_said_by(axis.key)} of the study")
        elif problem := next((p for value in axis.ends() if (p := _refused(study, axis.key, value))), None):
            found.append(f"space.{axis.key}: {problem}")
    if found:
        raise RecipeError(*(_placed(line, where, origins) for line in found))


def _said_by(key: str) -> str:
    return {"seed": "seed and seeds", "train.epochs": "epochs", "name": "name"}.get(key, "[budget]")


def _refused(study: Study, key: str, value: Any) -> str:
    """Why no recipe takes this value, where none of several points with it is possible; else ""."""
    problem = _problem(study, {key: value})
    if not problem:
        return ""
    for number in range(TRIED):
        point = study.space.drawn(0, number)
        if not _problem(study, {**point, key: value}):
            return ""
    return problem


def _problem(study: Study, point: Point) -> str:
    """The first thing that is wrong with the base where it has these values, or ""."""
    try:
        study.recipe(point)
    except RecipeError as error:
        named = [line for line in error.problems if any(key in line for key in point)] or error.problems
        return named[0].removeprefix(f"{study.config.base}: ").removeprefix("--set: ")
    except (KeyError, TypeError, AttributeError) as error:  # a path through what is no table
        return f"is no key of a recipe ({error})"
    return ""
