"""Searching: a study file to the best design within the budget."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snugnet import units
from snugnet.cli.console import Json, errors, out, print_json
from snugnet.cli.display import show_warning
from snugnet.cli.search_display import Watching, front_table, words
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
    study: Annotated[str | None, typer.Argument(help="A study file, or a built-in study: see --list.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="postgresql://USER@HOST/DATABASE, for several machines.")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="The study's directory; else runs/<study>.")] = None,
    device: Device = "auto",
    stop_after: StopAfter = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on, as without it; an error where nothing began.")
    ] = False,
    look: Annotated[bool, typer.Option("--look", help="Train nothing: say what there is so far.")] = False,
    best: Annotated[
        Path | None, typer.Option("--best", metavar="FILE", help="Write the best design there, as a recipe.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Where the page goes; else report.html beside it.")
    ] = None,
    lease: Annotated[
        str, typer.Option(help="Of a worker not heard of for so long, others take the trial over.")
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
    from snugnet.search import study as studies
    from snugnet.search import team
    from snugnet.search.progress import Progress
    from snugnet.search.work import Worker

    loaded = studies.load(study)
    folder = run or Path("runs") / loaded.name
    url = storage or os.environ.get(team.URL)
    if (resume or look) and url is None and not team.began(folder):
        option = "--resume" if resume else "--look"
        raise UsageError(f"{folder}: no study has begun here; leave {option} out, or give --run its directory")
    after_s, lease_s = None if stop_after is None else _seconds("--stop-after", stop_after), _seconds("--lease", lease)
    worker = Worker(team.worker_name(), folder, device, lease_s, warn=show_warning)
    opened = team.begin(loaded, folder, url)
    try:
        if as_worker:
            team.run(loaded, opened, team.as_member(worker, as_worker), None)
            return None
        progress = Progress.read(loaded, opened)
        if not look:
            command = ["search", study, "--run", str(folder), "--lease", f"{lease_s:g}s"]
            members = team.Team(workers, command, url) if workers > 1 else None
            with Watching(progress, workers) as watch:
                progress = _worked(loaded, opened, replace(worker, watch=watch), members, after_s)
    finally:
        opened.close()
    return _finish(progress, folder, best, html, as_json=as_json)


def _worked(study: Study, opened: Store, worker: Worker, members: Team | None, after_s: float | None) -> Progress:
    """What the study has come to once it is over, or --stop-after has passed, which is a success too."""
    from snugnet.search import team
    from snugnet.search.progress import Progress

    try:
        return team.run(study, opened, worker, members, after_s)
    except Interrupted as stop:
        if after_s is None or "--stop-after" not in str(stop):
            raise
        errors.print(str(stop), soft_wrap=True, markup=False)
        return Progress.read(study, opened)


def _seconds(option: str, text: str) -> float:
    try:
        found = units.parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    if not found > 0:
        raise UsageError(f"{option}: must be above 0; got {text}")
    return found


def _finish(progress: Progress, folder: Path, best: Path | None, html: Path | None, *, as_json: bool) -> None:
    """The page, the winner where it is wanted, and what the study has come to."""
    from snugnet.report.study import write_study
    from snugnet.search.winner import write_best

    page = write_study(progress, html or folder / "report.html")
    written = None if best is None else write_best(progress, best)
    if as_json:
        return print_json(progress.plain() | {"run": str(folder), "report": str(page), "recipe": best and str(best)})
    out.print(front_table(progress))
    for line in (words(progress), f"Report: {page}", *([f"Written: {written}"] if written else [])):
        out.print(line, soft_wrap=True, markup=False)
    if not progress.is_over:
        hint = f"Next:   snug search {progress.study.name} goes on with it"
    elif written is None:
        hint = f"Next:   snug search ... --best {progress.study.name}-best.toml writes the winner as a recipe"
    else:
        hint = f"Next:   snug train {written}"
    return out.print(hint, soft_wrap=True, markup=False)


def _list(*, as_json: bool) -> None:
    from snugnet.search import study as studies

    found = [(name, studies.load(name)) for name in studies.builtin_names()]
    if as_json:
        return print_json(
            [{"name": name, "purpose": each.config.purpose, "base": each.config.base} for name, each in found]
        )
    for name, each in found:
        out.print(f"{name}: {each.config.purpose}", soft_wrap=True, markup=False)
    return None
