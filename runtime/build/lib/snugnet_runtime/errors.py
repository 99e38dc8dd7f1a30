"""Every error a user may meet, with the exit codes of `snug`; those of a request have the status that answers it.

RuntimeFault
├── UsageError     2    a command line that cannot be meant
├── ModelError     4    a file that is no net of ours
├── MissingExtra   6    an optional package is not installed
└── Refused        4    a request, or an image, that is not answered
"""

from __future__ import annotations


class RuntimeFault(Exception):
    """Base of all errors that are not our bugs; `exit_code` is what the command ends with."""

    exit_code = 1


class UsageError(RuntimeFault):
    exit_code = 2


class ModelError(RuntimeFault):
    exit_code = 4


class MissingExtra(RuntimeFault):
    exit_code = 6


class Refused(RuntimeFault):
    """`status` is HTTP's; `retry_s`, where the same request may be answered later."""

    exit_code = 4

    def __init__(self, status: int, message: str, retry_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_s = status, retry_s
