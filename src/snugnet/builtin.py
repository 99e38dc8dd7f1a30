"""The recipes in the package: their names, texts and what they say of themselves, found without torch."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from snugnet.errors import RecipeError
from snugnet.problems import nearest

MOST_CHARACTERS = 100_000  # of a recipe; the longest of ours has a tenth


def names() -> list[str]:
    """Of all of them, sorted: "durga25/narrow-resnet18"."""
    root = resources.files("snugnet") / "recipes"
    return sorted(
        f"{folder.name}/{file.name.removesuffix('.toml')}"
        for folder in root.iterdir()
        if folder.is_dir()
        for file in folder.iterdir()
        if file.name.endswith(".toml")
    )


def find(name: str) -> tuple[str, str, str]:
    """(recipe name, text, what messages call it) of a built-in name or a path. Raises RecipeError."""
    known = names()
    if name in known:
        return name, _text(name), f"{name}.toml"
    path = Path(name)
    if not path.is_file():
        hint = nearest(name, known)
        raise RecipeError(f"{name}: neither a built-in recipe nor a file{hint}; `snug recipes` lists the built-in ones")
    try:
        with path.open(encoding="utf-8") as file:
            return path.stem, file.read(MOST_CHARACTERS + 1), str(path)
    except (UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text ({error}); a recipe is a TOML file") from error


def listed() -> list[dict[str, Any]]:
    """What `snug recipes` says of each. Tests hold the parameters that are written there against the nets."""
    return [_facts(name, tomllib.loads(_text(name))) for name in names()]


def _facts(name: str, said: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "source": said["source"],
        "params": said["expect"]["params"],
        "published_accuracy": said.get("published", {}).get("accuracy"),
        "measured_accuracy": said["expect"].get("accuracy"),
        "purpose": said["purpose"],
    }


def _text(name: str) -> str:
    return (resources.files("snugnet") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
