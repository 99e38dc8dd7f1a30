"""What the documents say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from snugnet import pipeline, recipe
from snugnet.artifact import build_meta
from snugnet.budget import count_params
from snugnet.report.tables import DOCUMENTS, rendered

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_generated_numbers_are_fresh(document: Path) -> None:
    assert (ROOT / document).read_text() == rendered(ROOT)[ROOT / document], "run `make tables`"


@pytest.mark.parametrize("number", [0, 1])
def test_the_recipes_of_the_documentation_are_recipes(number: int) -> None:
    text = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/recipes.md").read_text(), re.DOTALL)[number]
    experiment = recipe.parse(text, "docs/recipes.md").experiment
    assert experiment.expect is not None
    assert count_params(build_meta(pipeline.planned_card(experiment).model)) == experiment.expect.params


def test_every_key_of_a_recipe_is_documented() -> None:
    text = (ROOT / "docs/recipes.md").read_text()
    words = set(re.findall(r"[a-z_]+", text))
    known = {name for kind in _tables(recipe.Experiment) for name in kind.model_fields}
    assert known - words == {"floor"}  # written by a window, never by hand


def _tables(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """A configuration and all inside it."""
    found: set[type[BaseModel]] = {kind}
    parts: list[Any] = [field.annotation for field in kind.model_fields.values()]
    while parts:
        part = parts.pop()
        if isinstance(part, type) and issubclass(part, BaseModel):
            found |= _tables(part)
        parts += get_args(part)
    return found


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "results/README.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert "://" in target or (document.parent / target).exists(), f"{document.name} links to {target}"
