"""Going on: resume, of a training, of several seeds, of a run on its way to a smaller one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from snugnet.cli.compressing import print_beside
from snugnet.cli.console import Json, errors
from snugnet.cli.training import (
    Device,
    Record,
    StopAfter,
    Track,
    controls_for,
    finish,
    resume_one,
    resume_prepared,
    stopped_on_time,
    together,
    train_prepared,
    train_seeds,
)


def register(app: typer.Typer) -> None:
    app.command()(resume)


def resume(
    run: Annotated[Path, typer.Argument(help="The run directory, or that of several seeds.")],
    device: Device = "auto",
    stop_after: StopAfter = None,
    record: Record = False,
    tracking: Track = None,
    as_json: Json = False,
) -> None:
    """Go on exactly where a run stopped, a compression too: bitwise as if it never had.

    Example: snug resume runs/snugnet-quickstart-001
    """
    from snugnet import runs, track
    from snugnet.track.observer import recorded

    with together(device) as processes:
        trackers = track.available(recorded(run)) if tracking is None else track.chosen(tracking)
        group = runs.read_group(run)
        experiment = runs.read(run).experiment if group is None else group.recipe.experiment
        controls = controls_for(experiment, device, stop_after, processes)
        summaries: list[dict[str, Any]] = []
        with stopped_on_time(controls, run, as_json=as_json):
            if group is None:
                summaries = [resume_one(run, experiment, controls, trackers)]
            else:
                seeds = group.recipe, run, group.seeds
                summaries = train_seeds(*seeds, controls, trackers, force=True, show=not as_json)
        if not summaries or not processes.leads:
            return
        if group is None:
            _to_the_end(run, summaries[0], device, stop_after, record=record, as_json=as_json)
        else:
            finish(summaries, run, record=record, as_json=as_json, group=True)


def _to_the_end(
    run: Path, summary: dict[str, Any], device: str, stop_after: str | None, *, record: bool, as_json: bool
) -> None:
    """What follows a finished run: of one that is half of a compression, the other half; in any case its result."""
    from snugnet import runs
    from snugnet.ship import shrink, ways

    ended, following = run, ways.rest(run)
    if following is not None:
        ended = following if isinstance(following, Path) else following.path
        errors.print(f"{run} is finished; on its way to a smaller one follows {ended}", soft_wrap=True, markup=False)
        if isinstance(following, Path):
            further = resume_prepared(following, device, stop_after, as_json=as_json)
        else:
            further = train_prepared(following.recipe, ended, device, stop_after, as_json=as_json)
        if further is None:
            return
        summary = further
    finish([summary], ended, record=record, as_json=as_json, group=False)
    made = ways.origin(ended)
    if made is not None and not as_json and (Path(made.source) / "summary.json").is_file():
        print_beside(shrink.beside(runs.read(Path(made.source)), runs.read(ended)), ended)
