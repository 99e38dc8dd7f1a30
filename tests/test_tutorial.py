"""What docs/tutorial.md shows of commands is what they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command import snug
from snugnet import pipeline, recipe
from snugnet.report.diagram import svg
from test_documents import ROOT

TEXT = (ROOT / "docs/tutorial.md").read_text()
SHOWN = [part for block in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL) for part in block.split("$ ")[1:]]
LEFT_OUT = "\n  ...\n"


def words(text: str) -> str:
    """Whatever the lines are broken into."""
    return " ".join(text.split())


def test_every_command_says_what_the_tutorial_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert len(SHOWN) >= 8
    for part in SHOWN:
        command, _, shown = part.partition("\n")
        answer = snug(command.removeprefix("snug "))
        said = words(answer.out + answer.err)
        for piece in f"\n{shown}".split(LEFT_OUT):
            assert words(piece) in said, f"$ {command}\n{answer.out}{answer.err}"
        assert answer.code == (3 if "OverBudget" in shown else 0)


PICTURES = {
    name.partition("/")[2]: name for name in recipe.builtin_names() if f"diagram-{name.partition('/')[2]}.svg" in TEXT
}


@pytest.mark.parametrize("picture", PICTURES)
def test_the_nets_are_drawn_as_they_are(picture: str):
    spec = pipeline.planned_card(recipe.load(PICTURES[picture]).experiment).model
    drawn = (ROOT / f"docs/images/diagram-{picture}.svg").read_text()
    assert drawn.strip() == svg(spec, alone=True).strip(), f"run `snug plan {PICTURES[picture]} --diagram` anew"


def test_every_picture_is_of_a_recipe():
    assert len(PICTURES) == TEXT.count("images/diagram-") == 7
