"""What docs/tutorial.md shows of commands is what they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command import snug
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
