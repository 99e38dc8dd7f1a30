"""Every error a user may meet.

SnugError                 exit code
├── UsageError            2    a command line that cannot be meant
│   ├── RecipeError       2    a recipe, a spec or a --set with problems, all listed at once
│   ├── RunExists         2    the run directory holds something already
│   ├── RunLocked         2    another process is working in the run directory
│   └── OutOfMemory       2    the batch does not fit; the message names one that does
├── OverBudget            3    a design or a file is over its budget
├── DataError             4    a data set that is missing, damaged or inconsistent
├── ArtifactError         4    a shipped file or a checkpoint that cannot be trusted
├── StorageError          4    a disk that is full, read-only or gone; a failed download
├── ProcessLost           4    another process of the same training is gone
├── Diverged              5    the loss is not finite
├── GateFailed            5    a run falls short of what its recipe expects
├── MissingExtra          6    an optional package is not installed
└── Interrupted           130  stopped by the user; the message is the line that resumes

A message names the subject, what must hold, what was seen, and what to do.
"""

from __future__ import annotations


class SnugError(Exception):
    """Base of all errors that are not our bugs; `exit_code` is what `snug` ends with."""

    exit_code = 1


class UsageError(SnugError):
    exit_code = 2


class RecipeError(UsageError):
    """`problems` holds one line a problem: `recipe.toml:12: train.epoch: unknown key, did you mean 'epochs'?`"""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class RunExists(UsageError):
    pass


class RunLocked(UsageError):
    pass


class OutOfMemory(UsageError):
    pass


class OverBudget(SnugError):
    exit_code = 3


class DataError(SnugError):
    exit_code = 4


class ArtifactError(SnugError):
    exit_code = 4


class StorageError(SnugError):
    exit_code = 4


class ProcessLost(SnugError):
    exit_code = 4


class Diverged(SnugError):
    exit_code = 5


class GateFailed(SnugError):
    exit_code = 5


class MissingExtra(SnugError):
    exit_code = 6


class Interrupted(SnugError):
    exit_code = 130
