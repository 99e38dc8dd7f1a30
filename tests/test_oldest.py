"""What `make test-oldest` installs is what pyproject.toml promises to run with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def numbers(version: str) -> tuple[int, ...]:
    found = [int(part) for part in version.split(".")]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def test_the_oldest_versions_are_the_lower_bounds():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = dict(each.split(">=") for each in wanted)
    lines = [line for line in (ROOT / "tests" / "oldest.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert {name: numbers(version) for name, version in pins.items()} == {
        name: numbers(version) for name, version in bounds.items()
    }


def test_the_selection_is_there():
    selection = re.search(r"^OLDEST := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert selection
    paths = selection[1].replace("\\", " ").split()
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
