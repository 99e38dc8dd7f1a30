"""What is wrong with a data set, one line a problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from snugnet.errors import DataError

SHOWN = 10


@dataclass(frozen=True)
class Problem:
    """An "error" keeps the data set from being used, a "warning" makes scores doubtful, a "note" is for knowing."""

    severity: Literal["error", "warning", "note"]
    subject: str
    message: str
    remedy: str

    @classmethod
    def of(cls, error: DataError) -> Problem:
        """The error's own words: all our messages are `subject: message: remedy`."""
        subject, _, rest = str(error).partition(": ")
        message, _, remedy = rest.rpartition(": ")
        return cls("error", subject, message, remedy)

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}: {self.remedy}"


def raise_errors(problems: Iterable[Problem]) -> None:
    """Raises DataError with the errors among `problems`, a line each; warnings and notes pass."""
    lines = [str(problem) for problem in problems if problem.severity == "error"]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"and {len(lines) - SHOWN} problems more; `snug data check` lists them all"]
    if lines:
        raise DataError("\n".join(lines))
