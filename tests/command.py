"""`snug` as a user meets it, in this process: exit code, stdout and stderr of a command line."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

from snugnet.cli import main


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; raises where there is more or less."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """The last message: the lines of stderr from the first that names an error on."""
        lines = self.err.splitlines()
        first = next((k for k, line in enumerate(lines) if line.split(":")[0].endswith(("Error", "Bug"))), None)
        return "\n".join(lines if first is None else lines[first:])


def snug(*arguments: object) -> Answer:
    """Runs `snug ARGUMENTS`; a single argument is split as a shell would."""
    words = shlex.split(str(arguments[0])) if len(arguments) == 1 else [str(each) for each in arguments]
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        mock.patch.object(sys, "argv", ["snug", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main.main()
        except SystemExit as end:
            code = end.code
    return Answer(code or 0, out.getvalue(), err.getvalue())


def fails(answer: Answer, code: int, words: str) -> None:
    """One clear message: these words, this exit code, no traceback, no bug of ours."""
    assert (answer.code, words in answer.err) == (code, True), f"exit {answer.code}:\n{answer.err}"
    assert "Traceback" not in answer.err + answer.out
    assert "Bug" not in answer.err
    assert answer.err.count("Error:") <= 1
