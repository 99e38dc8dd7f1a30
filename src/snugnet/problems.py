"""Validation errors of pydantic in the words of a recipe."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

Location = tuple[int | str, ...]
MOST = 100  # problems that are told
OURS = "union[ours]"  # pydantic's tag of a union inside a union; no key of a recipe is called so


def shortened(text: str, most: int = 300) -> str:
    """Of what others wrote, as much as a message can bear."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def nearest(name: str, known: Iterable[str]) -> str:
    """ ", did you mean 'epochs'?", or nothing where no known name is near."""
    close = difflib.get_close_matches(name[:100], sorted(known), n=1, cutoff=0.6)
    return f", did you mean '{close[0]}'?" if close else ""


def explain(error: ValidationError, model: type[BaseModel], where: str, origins: Mapping[str, str]) -> list[str]:
    """One line a problem: where:line: path: what must hold, what was seen, the nearest name."""
    seen: dict[str, None] = {}
    told = error.errors(include_url=False)
    found = told[:MOST]
    for problem in found:
        if problem["type"] == "too_short" and any(_is_inside(other["loc"], problem["loc"]) for other in found):
            continue  # the items are bad, and so the list without them is short
        if any(_is_other_branch(problem, other) or _is_misspelt(problem, other) for other in found):
            continue
        location, fields = _walk(model, problem["loc"])
        path = ".".join(map(str, location))
        seen[f"{_place(where, path, origins)}: {shortened(path) or 'recipe'}: {_words(problem, location, fields)}"] = (
            None
        )
    more = [f"{where}: {len(told) - MOST:,} problems more"] if len(told) > MOST else []
    return [*seen, *more]


def _is_other_branch(problem: Any, other: Any) -> bool:
    """Where a word or a table or list may stand: whether `problem` is about the one not meant, and `other` is not."""
    word, table = (problem, other) if _is_word(problem) else (other, problem)
    if not _is_word(word) or _is_word(table) or not _is_inside(table["loc"], word["loc"][:-1]):
        return False
    return isinstance(word["input"], (Mapping, tuple)) == (problem is word)


def _is_misspelt(problem: Any, other: Any) -> bool:
    """Whether `problem` misses a key that `other` found written in another way, which is said there."""
    if (problem["type"], other["type"]) != ("missing", "extra_forbidden") or problem["loc"][:-1] != other["loc"][:-1]:
        return False
    return bool(nearest(str(other["loc"][-1]), [str(problem["loc"][-1])]))


def _is_word(problem: Any) -> bool:
    return problem["type"] == "literal_error" and str(problem["loc"][-1]).startswith("literal[")


def _is_inside(inner: Location, outer: Location) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _place(where: str, path: str, origins: Mapping[str, str]) -> str:
    """The file with the line of the key, or of the nearest table around it; or --set."""
    path = next((key for key in origins if key.startswith(f"{path}.")), path) if path and path not in origins else path
    while path and path not in origins:
        path = path.rpartition(".")[0]
    origin = origins.get(path, "")
    return origin if origin == "--set" else where + origin.replace("line ", ":")


def _walk(model: type[BaseModel], location: Sequence[int | str]) -> tuple[Location, list[str]]:
    """The location without pydantic's union tags, and the names that the innermost table knows."""
    kept: list[int | str] = []
    kinds: list[Any] = [model]
    fields: list[str] = list(model.model_fields)
    for part in location:
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if chosen := [kind for kind in models if part in _tags(kind)]:
            kinds = chosen
            continue
        if str(part).startswith(("literal[", "tuple[", OURS)):
            continue
        fields = sorted({field.alias or name for kind in models for name, field in kind.model_fields.items()})
        kept.append(part)
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return tuple(kept), fields


def _tags(kind: type[BaseModel]) -> set[str]:
    """What pydantic puts into a location to name this member of a union; no key of a recipe is called so."""
    discriminator = kind.model_fields.get("op")
    return {kind.__name__, *(get_args(discriminator.annotation) if discriminator else ())}


def _inside(kind: Any, part: int | str) -> list[Any]:
    """The possible types of an item or a field."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return _members(field.annotation) if field else []
    return [member for argument in get_args(kind) if argument is not Ellipsis for member in _members(argument)]


def _members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, unions and Annotated taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for argument in get_args(annotation) for member in _members(argument)]
    return [annotation]


_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a table",
    "dict_type": "a table",
    "model_attributes_type": "a table",
    "finite_number": "a finite number",
    "int_from_float": "a whole number",
}


def _words(problem: Any, location: Location, fields: list[str]) -> str:
    kind, context, value = problem["type"], problem.get("ctx", {}), problem.get("input")
    if kind == "extra_forbidden":
        return f"unknown key{nearest(str(location[-1]), fields) or _listed(fields)}"
    if kind == "missing":
        return "missing; it must be given"
    if kind in ("literal_error", "union_tag_invalid"):
        return _choice(context, value, " or a table" if _is_word(problem) else "")
    if kind == "union_tag_not_found":
        return f"must have the key {context['discriminator']}"
    if kind == "value_error":
        return shortened(str(context["error"]), 1000)
    if kind in ("too_short", "too_long"):
        bound, count = ("least", context["min_length"]) if kind == "too_short" else ("most", context["max_length"])
        return f"must have at {bound} {count} item{'s' * (count != 1)}; got {context['actual_length']}"
    must = _KINDS.get(kind) or problem["msg"].removeprefix("Input should be ").removeprefix("Value should be ")
    return f"must be {must}; got {_shown(value)}"


def _choice(context: Mapping[str, Any], value: Any, other: str) -> str:
    known = re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))
    given = context.get("tag", value)
    return f"must be one of {', '.join(known)}{other}; got {_shown(given)}{nearest(str(given), known)}"


def _listed(fields: list[str]) -> str:
    return f"; known are {', '.join(fields)}" if fields else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
