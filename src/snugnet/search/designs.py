"""From a point of the space to a trial: its recipe is made, priced and held to the budget. Nothing is trained here."""

from __future__ import annotations

from snugnet import budget, pipeline, toml_text
from snugnet.budget import MEASURES
from snugnet.errors import RecipeError
from snugnet.recipe import Experiment, Recipe
from snugnet.search.space import Point
from snugnet.search.store import Trial
from snugnet.search.study import Study


def design(study: Study, number: int, point: Point) -> Trial:
    """The trial that a point is: "open" to be trained, "over" the budget, or "invalid": no recipe, with the reason."""
    try:
        experiment = study.recipe(point, number).experiment
        card = pipeline.planned_card(experiment)
        cost = budget.price(card)
        excess = budget.excess(cost, study.budget)
    except RecipeError as error:
        return Trial(number, point, "invalid", note=error.problems[0])
    costs = {name: value for name in MEASURES if (value := getattr(cost, name)) is not None}
    return Trial(
        number=number,
        point=point,
        state="over" if excess else "open",
        sha256=experiment.model_copy(update={"model": card.model}).sha256,
        costs=costs,
        excess=excess,
    )


def recipe_of(study: Study, trial: Trial, seed: int = 0) -> Recipe:
    """What is trained for a trial with its `seed`-th seed, counted from 0."""
    recipe = study.recipe(trial.point, trial.number)
    experiment = recipe.experiment.model_copy(
        update={
            "seed": study.config.seed + seed,
            "budget": study.budget,
            "published": None,
            "expect": None,
            "purpose": f"trial {trial.number} of the study {study.name}",
            "source": f"snug search, from {study.config.base}",
            "command": "",
            "hardware": "",
            "time": "",
        }
    )
    return Recipe(experiment, text_of(experiment), {})


def text_of(experiment: Experiment, **told: str) -> str:
    """The experiment as a recipe file: what differs from the defaults, with other words about it where given."""
    kept = experiment.plain(exclude_defaults=True, exclude={"name"})
    return toml_text.document(told | {name: value for name, value in kept.items() if name not in told}) + "\n"
