"""Every class of error: its exit code, its place in the document, and how `snug` tells it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from command import fails, snug
from snugnet import errors, inventory
from snugnet.errors import SnugError
from snugnet.report import errors_page

ROOT = Path(__file__).parents[1]
CODES = {
    "UsageError": 2,
    "RecipeError": 2,
    "RunExists": 2,
    "RunLocked": 2,
    "OutOfMemory": 2,
    "OverBudget": 3,
    "DataError": 4,
    "ArtifactError": 4,
    "StorageError": 4,
    "ProcessLost": 4,
    "Diverged": 5,
    "GateFailed": 5,
    "MissingExtra": 6,
    "Interrupted": 130,
}


def below(kind: type[SnugError]) -> Iterator[type[SnugError]]:
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from below(each)


def test_no_class_is_forgotten():
    assert {kind.__name__: kind.exit_code for kind in below(SnugError)} == CODES
    assert {each.name: each.exit_code for each in errors_page.tree()} == CODES


@pytest.mark.parametrize("kind", list(below(SnugError)), ids=lambda kind: kind.__name__)
def test_the_command_ends_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[SnugError]):
    def raising(*_: object) -> None:
        raise kind("subject: must hold, but does not; do this")

    monkeypatch.setattr(inventory, "find", raising)
    answer = snug("runs", tmp_path)
    fails(answer, CODES[kind.__name__], f"{kind.__name__}: subject: must hold, but does not; do this")


def test_the_document_is_fresh():
    assert (ROOT / "docs/errors.md").read_text() == errors_page.errors_page(), "run `make tables`"


def test_messages_are_found_as_a_user_meets_them():
    said = errors_page.messages()
    assert "{path}: another process is working on this run; wait for it or stop it" in said["RunLocked"]
    assert "{path}: cannot be written (...): {remedy}, then repeat the command" in said["StorageError"]
    assert "disk" not in said["OverBudget"]
    assert set(said) <= set(CODES)


@pytest.mark.parametrize("name", sorted(set(CODES) - {"RecipeError", "UsageError"}))
def test_every_kind_has_a_message(name: str):
    assert any(f"{name}(" in path.read_text() for path in (ROOT / "src").rglob("*.py"))
