"""Code of the user's own, which recipes and shipped files name by import path: "mypackage.module:Name".

Importing it runs it, so nothing is imported unless that was allowed. What goes wrong in it is told as a problem of the
recipe, with its path.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, JsonValue

from snugnet.errors import RecipeError
from snugnet.problems import nearest

Kind = Literal["block", "augmentation", "loss"]
FORM = "'package.module:Name'"
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_permission = {"granted": False}  # of this process


def is_path(name: str) -> bool:
    """Whether a name is meant as an import path; none of ours has a colon."""
    return ":" in name


def is_well_formed(name: str) -> bool:
    return _PATH.fullmatch(name) is not None


def _well_formed(name: str) -> str:
    if not is_well_formed(name):
        raise ValueError(f"must be {FORM}; got {name!r}")
    return name


ImportPath = Annotated[str, AfterValidator(_well_formed)]


def _finite(options: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        json.dumps(options, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"numbers must be finite; got {options}") from error
    return options


Options = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


@contextlib.contextmanager
def code_allowed(allowed: bool = True) -> Iterator[None]:
    """Within it, recipes and shipped files may import code that they name, where `allowed`."""
    before = _permission["granted"]
    _permission["granted"] = allowed
    try:
        yield
    finally:
        _permission["granted"] = before


@contextlib.contextmanager
def explained(problem: str, remedy: str = "correct it") -> Iterator[None]:
    """Turns an error of the user's code within it into a RecipeError: the problem, the error, what to do."""
    try:
        yield
    except Exception as error:  # of code that is not ours
        raise RecipeError(f"{problem} ({type(error).__name__}: {error}); {remedy}") from error


def is_allowed() -> bool:
    return _permission["granted"]


def imported(kind: Kind, path: str) -> Any:
    """What the path names, which can be called. Raises RecipeError."""
    subject = f"{kind} {path}"
    if not _permission["granted"]:
        raise RecipeError(f"{subject}: runs foreign code, which needs permission; read it, then add --allow-code")
    module, _, name = path.partition(":")
    with explained(f"{subject}: {module} cannot be imported", "install it, or name its folder in PYTHONPATH"):
        found = importlib.import_module(module)
    made = getattr(found, name, None)
    if not callable(made):
        raise RecipeError(
            f"{subject}: {module} has nothing to call of the name {name!r}{nearest(name, _callables(found))}"
        )
    return made


def made(kind: Kind, path: str, options: Mapping[str, Any]) -> Any:
    """What it gives for its options, which can be called. Raises RecipeError."""
    make = imported(kind, path)
    with explained(f"{kind} {path}: cannot be made with options {dict(options)}"):
        found = make(**copy.deepcopy(dict(options)))
    if not callable(found):
        raise RecipeError(f"{kind} {path}: must return something to call; got {type(found).__name__}")
    return found


def fingerprint(path: str) -> str:
    """Of the file that an imported path stands in: the first 12 digits of its SHA-256; "" where there is no file."""
    file = getattr(sys.modules.get(path.partition(":")[0]), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12] if file else ""


def _callables(module: Any) -> list[str]:
    return [name for name in dir(module) if callable(getattr(module, name, None))]
