"""TOML for people: one line a value, with a remark behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def inline(value: Any) -> str:
    """A value on one line: tables as { a = 1 }, lists as [1, 2]."""
    if isinstance(value, Mapping) and value:
        return "{ " + ", ".join(f"{_key(key)} = {inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    text = json.dumps(value, ensure_ascii=False)  # texts, whole numbers and booleans are the same in both
    return text.replace("\x7f", "\\u007f")  # but for this character


def document(
    data: Mapping[str, Any], remark: Callable[[str], str] = lambda path: "", keys: tuple[str, ...] = ()
) -> str:
    """A whole document: values first, then a [table] each. `remark` gives the comment behind a value's path."""
    values = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    lines = [_line(key, value, remark, ".".join((*keys, key))) for key, value in values.items()]
    for key, table in tables.items():
        path = (*keys, key)
        lines += ["", f"[{'.'.join(map(_key, path))}]", document(table, remark, path)]
    return "\n".join(lines)


def _line(key: str, value: Any, remark: Callable[[str], str], path: str) -> str:
    comment = remark(path)
    if isinstance(value, list) and value and isinstance(value[0], (Mapping, list)):
        items = "".join(
            f"  {inline(item)},{_comment(_item_remark(item, remark, f'{path}.{n}'))}\n" for n, item in enumerate(value)
        )
        return f"{_key(key)} = [{_comment(comment)}\n{items}]"
    return f"{_key(key)} = {inline(value)}{_comment(comment)}"


def _item_remark(item: Any, remark: Callable[[str], str], path: str) -> str:
    """The remark of an item, and those of values in it that differ: "line 9; default: kernel, dropout"."""
    own, others = remark(path), dict[str, list[str]]()
    for name in _leaves(item):
        if (other := remark(f"{path}.{name}")) != own:
            others.setdefault(other, []).append(name)
    return "; ".join([own, *(f"{other}: {', '.join(names)}" for other, names in others.items() if other)])


def _leaves(item: Any) -> Iterator[str]:
    """Paths of the values in a table, those of tables inside it as well."""
    if isinstance(item, Mapping):
        for key, value in item.items():
            yield from (
                (f"{key}.{inner}" for inner in _leaves(value)) if isinstance(value, Mapping) and value else (key,)
            )


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else inline(key)


def _comment(text: str) -> str:
    return f"  # {text}" if text else ""
