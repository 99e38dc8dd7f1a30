from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import typer

from command import snug
from snugnet.cli.main import app

TRAINING = ("train", "resume", "runs", "search", "demo", "lr-find", "recipes", "show", "plan", "design", "doctor")
JUDGING = (
    "evaluate",
    "compare",
    "explain",
    "report",
    "verify",
    "data check",
    "data show",
    "bench",
    "compress",
    "predict",
    "serve",
    "card",
    "push",
    "export",
    "export-c",
)
COMMANDS = sorted(TRAINING + JUDGING)


def names(group: typer.Typer, prefix: str = "") -> list[str]:
    callbacks = [command.callback for command in group.registered_commands if command.callback]
    own = [prefix + callback.__name__.replace("_", "-") for callback in callbacks]
    inner = [
        name
        for each in group.registered_groups
        if each.typer_instance
        for name in names(each.typer_instance, f"{prefix}{each.name} ")
    ]
    return own + inner


def test_the_list_is_complete():
    assert sorted(names(app)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command: str):
    answer = snug(f"{command} --help")
    assert answer.code == 0
    assert f"Example: snug {command}" in re.sub(r"\s+", " ", answer.out)
    assert ("--json" in answer.out) == (command != "serve")  # which answers over HTTP


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60)


def test_help_imports_nothing_heavy():
    """What makes it quick. Its time differs by a factor of three from one machine to the next."""
    code = (
        "import sys, contextlib\nsys.argv = ['snug', '--help']\nfrom snugnet.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print('HEAVY', sorted({'torch', 'numpy', 'pydantic', 'PIL', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    assert "HEAVY []" in run("-c", code).stdout


def test_version_and_no_arguments():
    assert snug("--version").out.startswith("snugnet ")
    assert "Usage" in snug("").out + snug("").err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trian", "No such command 'trian'"),
        ("train", "train: needs a RECIPE, see `snug recipes`; or --from RUN --data FOLDER"),
        ("train snugnet/digits --seeds 0", "Invalid value for '--seeds'"),
        ("train snugnet/digits --seed -1", "Invalid value for '--seed'"),
        ("train snugnet/digits --epochs 3", "No such option"),
        ("evaluate", "Missing argument"),
    ],
)
def test_a_command_line_that_cannot_be_meant(line: str, words: str):
    answer = snug(line)
    assert answer.code == 2
    assert words in re.sub(r"[│\s]+", " ", answer.err)


def test_a_narrow_terminal_without_colour_cuts_no_word():
    environment = os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "20"}
    command = [sys.executable, "-m", "snugnet", "plan", "snugnet/digits", "--budget", "params=10k"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 3
    assert "\x1b" not in done.stdout + done.stderr
    assert "the design" not in done.stderr
    assert "snugnet/digits is 19,706 parameters, 9,706 over the budget of 10,000;" in done.stderr


@pytest.mark.parametrize("line", ["recipes", "plan snugnet/quickstrat", "train snugnet/quickstrat", "show snugnet/no"])
def test_plain_mistakes_are_told_without_torch(line: str):
    """Whose import takes seconds."""
    code = (
        f"import sys, contextlib\nsys.argv = ['snug', *{line.split()}]\nfrom snugnet.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print('HEAVY', sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    found = run("-c", code).stdout
    assert found.endswith(("HEAVY ['pydantic']\n", "HEAVY []\n"))
