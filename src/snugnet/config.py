"""The base of every configuration object: frozen, strict, closed to unknown keys."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A configuration. No unknown key, no coercion ("3" is not 3, 3.0 is not 3), no NaN, no change after it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Plain data, as TOML or JSON gives it (lists where the fields are tuples). Raises pydantic.ValidationError."""
        return cls.model_validate_json(json.dumps(data, default=str))

    def plain(self, **options: Any) -> dict[str, Any]:
        """The inverse of `parse`: dicts, lists, strings and numbers."""
        return self.model_dump(mode="json", exclude_none=True, **options)

    def replaced(self, **changes: Any) -> Self:
        """A validated copy with some fields changed."""
        return type(self).parse({**self.plain(), **changes})
