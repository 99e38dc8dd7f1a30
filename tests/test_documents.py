"""What the documents say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from small_runs import TINY
from snugnet import pipeline, recipe
from snugnet.artifact import build_meta
from snugnet.budget import count_params
from snugnet.foreign import code_allowed
from snugnet.pipeline import Controls
from snugnet.report import landscape
from snugnet.report.ledger import read_ledger
from snugnet.report.tables import LEDGER, LITERATURE, PICTURE, rendered

ROOT = Path(__file__).parents[1]


def test_generated_numbers_are_fresh() -> None:
    stale = [path.name for path, text in rendered(ROOT).items() if path.read_text() != text]
    assert not stale, "run `make tables`"
    known = landscape.points(read_ledger(ROOT / LEDGER), ROOT / LITERATURE)
    assert landscape.shown(ROOT / PICTURE) == landscape.digest(known), "run `make tables`"


@pytest.mark.parametrize("number", [0, 1])
def test_the_recipes_of_the_documentation_are_recipes(number: int) -> None:
    text = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/recipes.md").read_text(), re.DOTALL)[number]
    experiment = recipe.parse(text, "docs/recipes.md").experiment
    assert experiment.expect is not None
    assert count_params(build_meta(pipeline.planned_card(experiment).model)) == experiment.expect.params


def test_code_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/recipes.md").read_text()
    codes = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mypackage").mkdir()
    for name, code in zip(("blocks", "ops", "losses"), codes, strict=True):
        (tmp_path / "mypackage" / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    block = 'block = "mypackage.blocks:MyBlock"'
    change = '{ op = "mypackage.ops:Solarise", options = { lowest = 64 }, p = 0.5 }'
    loss, options = 'loss = "mypackage.losses:Focal"', "loss_options = { gamma = 1.5 }"
    assert all(f"`{each}`" in text for each in (block, change, loss, options))
    own = TINY.replace('["basic", 1, 4]', f"{{ {block}, blocks = 1, channels = 4 }}")
    own = own.replace("epochs = 2", f"epochs = 1\n{loss}\n{options}").replace("augment = [", f"augment = [{change}, ")
    with code_allowed():
        pipeline.start(recipe.parse(own, "own.toml"), tmp_path / "run", Controls())


def test_every_key_of_a_recipe_is_documented() -> None:
    text = (ROOT / "docs/recipes.md").read_text()
    words = set(re.findall(r"[a-z_]+", text))
    known = {name for kind in _tables(recipe.Experiment) for name in kind.model_fields}
    by_us = {"floor", "sha256", "recipe_sha256"}  # written by a window and by a run, never by hand
    assert known - words == by_us


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
