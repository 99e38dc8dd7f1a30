"""TOML for people: one line a value, with a remark behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


def inline(value: Any) -> str:
    """A value on one line: tables as { a = 1 }, lists as [1, 2]."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)  # texts, whole numbers and booleans are the same in both


def document(data: Mapping[str, Any], remark: Callable[[str], str] = lambda path: "", prefix: str = "") -> str:
    """A whole document: values first, then a [table] each. `remark` gives the comment behind a key's path."""
    values = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    lines = [_line(key, value, remark, prefix) for key, value in values.items()]
    for key, table in tables.items():
        if any(isinstance(value, Mapping) for value in table.values()) or not prefix:
            path = f"{prefix}{key}"
            lines += ["", f"[{path}]", document(table, remark, f"{path}.")]
        else:
            lines.append(_line(key, table, remark, prefix))
    return "\n".join(lines)


def _line(key: str, value: Any, remark: Callable[[str], str], prefix: str) -> str:
    comment = remark(f"{prefix}{key}")
    if isinstance(value, list) and value and isinstance(value[0], (Mapping, list)):
        items = "".join(f"  {inline(item)},{_comment(remark(f'{prefix}{key}.{n}'))}\n" for n, item in enumerate(value))
        return f"{_key(key)} = [{_comment(comment)}\n{items}]"
    return f"{_key(key)} = {inline(value)}{_comment(comment)}"


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)


def _comment(text: str) -> str:
    return f"  # {text}" if text else ""
