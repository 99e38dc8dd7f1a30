"""A finished run for others: card, push."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from snugnet import units
from snugnet.cli.console import Json, escape, out, print_json
from snugnet.cli.display import show_warning
from snugnet.cli.judging import RunPath
from snugnet.errors import MissingExtra

if TYPE_CHECKING:
    from snugnet.hub.bundle import File

OF_WEIGHTS = "Licence of the weights, as the Hugging Face Hub calls it: mit, cc-by-4.0, ..."


def register(app: typer.Typer) -> None:
    for command in (card, push):
        app.command()(command)


def card(
    run: RunPath,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the card goes; RUN/README.md if not given.")
    ] = None,
    license: Annotated[str, typer.Option("--license", metavar="ID", help=OF_WEIGHTS)] = "apache-2.0",
    as_json: Json = False,
) -> None:
    """Write a model card from what the run holds: data, training, measures, limits, licences.

    Example: snug card runs/demo-001
    """
    from snugnet.report.card import write_card

    path = write_card(run, output, license)
    return print_json({"path": str(path)}) if as_json else out.print(str(path), soft_wrap=True, markup=False)


def push(
    run: RunPath,
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="A model repository of the Hugging Face Hub.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would leave, and send nothing.")] = False,
    license: Annotated[
        str | None, typer.Option("--license", metavar="ID", help=f"{OF_WEIGHTS} apache-2.0 if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Upload a run's net, card and record to a repository of the Hugging Face Hub, in one commit.

    Absolute paths in texts are cut to their last part. Checkpoints and predictions stay here.

    Example: snug push runs/demo-001 me/demo --dry-run
    """
    from snugnet import runs
    from snugnet.hub.bundle import check_repository, gather

    files = gather(run, check_repository(repository), license)
    if "report.html" not in {file.name for file in files}:
        show_warning(f"{run}: has no report.html, which would go with it; `snug report {run}` writes it")
    url = None if dry_run else _upload(repository, files, _message(runs.read(run).summary), private=private)
    if as_json:
        listed = [{"name": f.name, "bytes": len(f.data), "shortened": list(f.shortened)} for f in files]
        return print_json({"repository": repository, "url": url, "files": listed})
    return _print_sent(files, url)


def _upload(repository: str, files: list[File], message: str, *, private: bool) -> str:
    from snugnet.track import is_installed

    if not is_installed("huggingface_hub"):
        raise MissingExtra("push: needs huggingface_hub, not installed here: pip install 'snugnet[hub]'")
    from snugnet.hub.upload import push as send

    return send(repository, files, message, private=private)


def _message(summary: dict[str, Any]) -> str:
    """The line of the commit."""
    tested = "not tested" if summary["test"] is None else f"test accuracy {units.show_percent(summary['test'])}"
    return f"{summary['recipe']}, seed {summary['seed']}: {tested}, {summary['bytes']:,} B"


def _print_sent(files: list[File], url: str | None) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for file in files:
        table.add_row(escape(file.name), f"{len(file.data):,} B")
    out.print(table)
    for file in files:
        for path in file.shortened:
            out.print(f"{file.name}: {path} is cut to its last part", soft_wrap=True, markup=False)
    total = f"{len(files)} files, {units.show_bytes(sum(len(file.data) for file in files))}"
    where = f"in one commit: {url}" if url else "nothing was sent (--dry-run)"
    out.print(f"{total}; {where}", soft_wrap=True, markup=False)
