"""What a terminal is sent of names that others wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import fails, snug
from snugnet.cli.console import escape, visible

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_control_characters_are_written_out():
    assert visible("a\x1b[2J\x07\x9b\r é\t\n") == "a\\x1b[2J\\x07\\x9b\\r é\t\n"
    assert escape("[red]\x1b") == "\\[red]\\x1b"


def test_a_name_in_a_file_does_not_reach_the_terminal(tmp_path: Path):
    (tmp_path / "a.csv").write_text('path,label\n"\x1b[2J.png",cat\n')
    answer = snug("data check a.csv")
    fails(answer, 4, "problems make it unusable")
    assert "\\x1b[2J.png" in answer.out
    assert "\x1b" not in answer.out + answer.err


def test_nor_does_one_in_an_error(tmp_path: Path):
    (tmp_path / "a.toml").write_text('"\\u001b[2J" = 1\n')
    answer = snug("show a.toml")
    assert "\\x1b[2J: unknown key" in answer.err
    assert "\x1b" not in answer.err
