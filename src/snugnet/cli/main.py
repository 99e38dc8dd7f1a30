"""`snug`: the commands, and what becomes of an error. Nothing here imports torch; commands do, when they run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import snugnet
from snugnet.cli import (
    comparing,
    compressing,
    data,
    designing,
    explaining,
    exporting_c,
    handing,
    judging,
    machine,
    predicting,
    resuming,
    running,
    searching,
    serving,
    shipping,
    training,
)
from snugnet.cli.console import errors, escape
from snugnet.errors import SnugError, StorageError, UsageError
from snugnet.launch import place

INTERRUPTED = "Interrupted: a run that had begun is kept up to its last checkpoint; `snug resume RUN` goes on with it."
SEARCHED = (
    "Interrupted: search: all that is finished is kept, runs up to their last checkpoint; the same command goes on."
)
TRAINING = ("train", "resume", "demo", "compress")  # commands that a stop leaves a run of, to go on with
ANYWHERE = ("--debug", "--allow-code")  # options of every command, wherever they stand
SHARED = ("train", "resume")  # commands that several processes may carry out together
BUG = "This is a fault of snugnet. Repeat the command as `snug --debug ...` and report what it prints."

app = typer.Typer(
    name="snug",
    help="The most accurate image classifier that fits a budget, and the proof of it.",
    epilog="First steps:  snug demo  ·  snug plan snugnet/quickstart  ·  snug train snugnet/quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for module in (
    machine,
    designing,
    training,
    resuming,
    running,
    searching,
    judging,
    comparing,
    explaining,
    predicting,
    compressing,
    shipping,
    serving,
    handing,
    exporting_c,
    data,
):
    module.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"snugnet {snugnet.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run the code that a recipe or a file names by import path.")
    ] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if place().count > 1 and context.invoked_subcommand not in SHARED:
        raise UsageError(
            f"torchrun: starts several processes, which {' and '.join(SHARED)} alone share; "
            f"run `snug {context.invoked_subcommand}` without it"
        )
    if allow_code:
        from snugnet.foreign import code_allowed

        context.with_resource(code_allowed())


def interrupted(given: Sequence[str]) -> str:
    """What a stop leaves, by the command that was given."""
    command = next((word for word in given if not word.startswith("-")), "snug")
    if command in TRAINING:
        return INTERRUPTED
    if command == "search":
        return SEARCHED
    outputs = any(word.partition("=")[0] in ("--html", "--figures", "--csv", "--latex") for word in given)
    old = "; of the files to be written some may be those of before" if outputs else ""
    return f"Interrupted: {command}: stopped; runs are unchanged{old}."


def main() -> None:
    """Runs a command and ends the process with its exit code."""
    given = [word for word in sys.argv[1:] if word in ANYWHERE]
    sys.argv[1:] = given + [word for word in sys.argv[1:] if word not in ANYWHERE]
    debug = "--debug" in given
    try:
        app()
    except SystemExit as end:  # typer has caught a KeyboardInterrupt, and said nothing
        if end.code == 130:
            errors.print(interrupted(sys.argv[1:]), soft_wrap=True)
        raise
    except SnugError as error:
        if debug:
            raise
        _say(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        errors.print(interrupted(sys.argv[1:]), soft_wrap=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of stdout has gone, as in `snug recipes | head`
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a name too long, a folder without permission, a disk that failed where none expected it
        if debug:
            raise
        _say(StorageError(f"{error.filename or 'a file'}: {error.strerror or error}; check the path and the disk"))
        sys.exit(StorageError.exit_code)
    except Exception as error:
        if debug:
            raise
        errors.print(f"[bold red]Bug[/]: {type(error).__name__}: {escape(error)}", soft_wrap=True)
        errors.print(BUG, soft_wrap=True)
        sys.exit(1)


def _say(error: SnugError) -> None:
    errors.print(f"[bold red]{type(error).__name__}[/]: {escape(error)}", soft_wrap=True)
