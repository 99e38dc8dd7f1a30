"""From a budget to a design: the widest form of a recipe's net that fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from snugnet import budget, units
from snugnet.artifact import Card
from snugnet.budget import Budget, Cost
from snugnet.errors import OverBudget, RecipeError
from snugnet.models.spec import ModelSpec
from snugnet.problems import explain, nearest
from snugnet.recipe import Experiment

STEP = 0.001  # of the width multiplier
_WIDEST = 16.0
SHORT = {"peak_activation": "peak_activation_bytes", "ram": "ram_bytes"}


def parse_budget(text: str, price_of: Callable[[str], Cost]) -> Budget:
    """ "params=5M,bytes=1MB", or a window around another recipe: "size_mb=tu24/base±2%". Raises RecipeError."""
    limits: dict[str, Any] = {}
    floor: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = item.partition("=")
        name = SHORT.get(name.strip(), name.strip())
        if name in limits:
            raise RecipeError(f"--budget {item}: {name} has a limit already; give one for each measure")
        if not equals or name not in budget.MEASURES:
            known = ", ".join(budget.MEASURES)
            hint = nearest(name, budget.MEASURES)
            raise RecipeError(f"--budget {item}: must be NAME=LIMIT with NAME one of {known}{hint}")
        reference, around, tolerance = value.replace("+-", "±").partition("±")
        try:
            if around:
                share = units.parse(tolerance.strip(), {"%": 0.01, "": 1.0}, "a tolerance")
                centre = getattr(price_of(reference.strip()), name)
                limits[name], floor[name] = centre * (1 + share), centre * (1 - share)
            else:
                limits[name] = value.strip()
        except ValueError as error:
            raise RecipeError(f"--budget {item}: {error}") from error
    if not limits:
        raise RecipeError("--budget: must be NAME=LIMIT, one or more with commas between, for example params=5M")
    return _budget(limits, floor)


def _budget(limits: dict[str, Any], floor: dict[str, float]) -> Budget:
    readers: dict[str, Callable[[Any], float]] = {
        "params": units.parse_count,
        "macs": units.parse_count,
        "size_mb": lambda value: units.parse(value, {"": 1, "MB": 1}, "a size"),
    }
    try:
        read = {name: readers.get(name, units.parse_bytes)(value) for name, value in limits.items()}
        return Budget.parse({**read, "floor": floor or None})
    except ValidationError as error:  # of a limit that is not above zero; it is a ValueError as well
        raise RecipeError(*explain(error, Budget, "--budget", {})) from error
    except ValueError as error:
        raise RecipeError(f"--budget: {error}") from error


def widened(card: Card, width: float) -> Card:
    return card.model_copy(update={"model": card.model.model_copy(update={"width": width})})


def _fits(card: Card, limits: Budget) -> bool:
    return _is_possible(card.model) and all(
        budget.measure(card, name) <= limit for name, limit in limits.limits().items()
    )


def _is_possible(model: ModelSpec) -> bool:
    """Whether widths that must agree still do: transformers without an entry keep what comes before them."""
    if all(stage.block != "transformer" or stage.entry for stage in model.stages):
        return True
    try:
        ModelSpec.parse(model.plain())
    except ValidationError:
        return False
    return True


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest n in [low, high] that fits; all below it do, and `low` is known to."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def largest_width(card: Card, limits: Budget) -> float | None:
    """The largest width multiplier in steps of 0.001 whose net is within the limits; None where none is."""
    if not _fits(widened(card, STEP), limits):
        return None
    count = _largest(1, round(_WIDEST / STEP), lambda n: _fits(widened(card, round(n * STEP, 3)), limits))
    return round(count * STEP, 3)


def widest(experiment: Experiment, card: Card, limits: Budget) -> Experiment:
    """The recipe with the widest net that fits: the largest multiplier, then single stages widened, the first first,
    since a channel of an early stage buys the most computation for its parameters. Raises OverBudget."""
    width = largest_width(card, limits)
    if width is None:
        raise OverBudget(f"{experiment.name}: even at width {STEP:g} it is over the budget; choose a shallower recipe")
    model = _baked(widened(card, width))
    for index in range(len(model.stages)):
        start = model.stages[index].channels

        def with_channels(count: int, index: int = index, model: Any = model) -> Any:
            stage = model.stages[index].model_copy(update={"channels": count})
            return model.model_copy(update={"stages": (*model.stages[:index], stage, *model.stages[index + 1 :])})

        def fits(count: int, make: Callable[[int], Any] = with_channels) -> bool:
            return _fits(card.model_copy(update={"model": make(count)}), limits)

        model = with_channels(_largest(start, 2 * start, fits))
    return with_model(experiment, model, limits)


def with_model(experiment: Experiment, model: ModelSpec, limits: Budget) -> Experiment:
    """The recipe with a net designed to the limits."""
    afresh = {"init_from": None, "transfer": False}  # a net of another width has no place for those weights
    train = experiment.train.model_copy(update=afresh)
    made_here = {"budget": limits, "published": None, "expect": None}
    model = model.trained_as(experiment.model)  # the card's net is the one that ships
    return experiment.model_copy(update={"model": model, "train": train, **made_here})


def _baked(card: Card) -> Any:
    """The specification with the multiplier worked into its channels."""
    model = card.model

    def scaled(part: Any, name: str) -> Any:
        given = getattr(part, name, None)
        if given is None:
            return part
        of = getattr(part, "multiple" if name == "channels" else "groups", 1)
        many = isinstance(given, tuple)
        widths = tuple(model.scaled(each, of) for each in given) if many else model.scaled(given, of)
        return part.model_copy(update={name: widths})

    stages = tuple(scaled(scaled(stage, "channels"), "inner") for stage in model.stages)
    stem = model.stem if model.whitens else scaled(model.stem, "channels")
    return model.model_copy(update={"stages": stages, "stem": stem, "width": 1.0})


def suggestion(card: Card, limits: Budget) -> dict[str, Any] | None:
    """The nearest design that fits: its width multiplier and its parameters."""
    width = largest_width(card, limits)
    if width is None:
        return None
    return {"width": width, "params": budget.measure(widened(card, width), "params"), "set": f"model.width={width:g}"}


def advice(found: dict[str, Any] | None) -> str:
    """A suggestion in words."""
    if found is None:
        return "no width multiplier fits: choose a shallower recipe"
    return (
        f"the largest width multiplier that fits is {found['width']:g} ({found['params']:,} parameters): "
        f"give --set {found['set']}"
    )


def require_fit(cost: Cost, limits: Budget, what: str, suggest: Callable[[], dict[str, Any] | None]) -> None:
    """Raises OverBudget with the excess, and the nearest design that fits as `suggest` gives it."""
    try:
        budget.check(cost, limits, what)
    except OverBudget as error:
        raise OverBudget(f"{error}; {advice(suggest())}") from None
