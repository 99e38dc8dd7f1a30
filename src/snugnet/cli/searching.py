"""Searching: a study file to the best design within the budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snugnet import units
from snugnet.cli.console import Json, errors, escape, out, print_json
from snugnet.cli.display import show_warning
from snugnet.cli.training import Device, StopAfter
from snugnet.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from snugnet.search.progress import Progress
    from snugnet.search.store import Store
    from snugnet.search.study import Study
    from snugnet.search.team import Team
    from snugnet.search.work import Worker

LEASE = "60s"


def register(app: typer.Typer) -> None:
    app.command()(search)


def search(
    study: Annotated[
        str | None, typer.Argument(help="A study file (docs/search.md), or a built-in one, see --list.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="postgresql://USER@HOST/DATABASE joins workers of other machines."),
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="The study's directory; else runs/<study>.")] = None,
    device: Device = "auto",
    stop_after: StopAfter = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on; an error where nothing began.")] = False,
    look: Annotated[bool, typer.Option("--look", help="Train nothing: say what there is so far.")] = False,
    best: Annotated[
        Path | None, typer.Option("--best", metavar="FILE", help="Write the best design there, as a recipe.")
    ] = None,
    lease: Annotated[
        str, typer.Option(help="A worker that is not heard of for so long is dead; others take its trial over.")
    ] = LEASE,
    list_studies: Annotated[bool, typer.Option("--list", help="List the built-in studies.")] = False,
    as_worker: Annotated[str | None, typer.Option("--as-worker", hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Search for the best design within a budget: grid, random, Bayesian, evolutionary, or halving over epochs.

    Example: snug search digits --workers 2
    """
    if list_studies:
        return _list(as_json=as_json)
    if study is None:
        raise UsageError("search: needs a STUDY, a TOML file; `snug search --list` lists the built-in ones")
    from snugnet.search import studies

    loaded = studies.load(study)
    folder = run or Path("runs") / loaded.name
    if (resume or look) and not storage and not _began(folder):
        raise UsageError(f"{folder}: no study has begun here; leave out {'--resume' if resume else '--look'} to begin it")
    return None


def _began(folder: Path) -> bool:
    return (folder / "study.json").is_file()
