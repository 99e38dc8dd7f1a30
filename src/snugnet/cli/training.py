"""Training: train, demo, lr-find."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snugnet import units
from snugnet.cli import STARTED
from snugnet.cli.console import Data, Json, Overrides, errors, escape, out, print_json, require_recipe
from snugnet.cli.designing import BudgetText, Recipe, limits
from snugnet.cli.display import Display, show_budget, show_download, show_warning
from snugnet.errors import Diverged, Interrupted, UsageError

if TYPE_CHECKING:
    from snugnet.parallel import Processes
    from snugnet.pipeline import Controls
    from snugnet.recipe import Experiment
    from snugnet.recipe import Recipe as LoadedRecipe
    from snugnet.train.range_test import RangeConfig

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
StopAfter = Annotated[
    str | None, typer.Option("--stop-after", help="End cleanly after this long (50m, 1.5h), to be resumed.")
]
Record = Annotated[bool, typer.Option("--record", help="Add the result to results/ledger.jsonl.")]
Track = Annotated[
    str | None, typer.Option("--track", help="Tell trackers too: tensorboard, wandb, mlflow, commas between; or none.")
]
LEDGER = Path("results/ledger.jsonl")
RESULT_FIELDS = ("params", "bytes", "val", "test", "seconds")


def register(app: typer.Typer) -> None:
    for command in (train, demo, lr_find):
        app.command()(command)


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A built-in recipe (see `snug recipes`) or a TOML file; --from needs none."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Go on with the weights of a run, a shipped file or a recipe's newest run, on --data. A RECIPE beside "
            "it says how.",
        ),
    ] = None,
    data: Data = None,
    run: Annotated[Path | None, typer.Option("--run", help="The run directory; else runs/<recipe>-<number>.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32, help="Overrides the recipe's seed.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Train this many seeds; gives mean and spread.")] = None,
    budget: BudgetText = None,
    device: Device = "auto",
    stop_after: StopAfter = None,
    record: Record = False,
    tracking: Track = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Train a recipe within its budget: a run directory, a shipped file, scores of that file, a report.

    Example: snug train snugnet/quickstart --seeds 3
    """
    require_recipe(recipe)
    from snugnet import runs, track

    changes = [*(overrides or ()), *([f"seed={seed}"] if seed is not None else [])]
    with together(device) as processes:
        trackers = track.chosen(tracking)
        loaded = _loaded(recipe, weights, data, changes, seed)
        if budget:
            loaded = loaded.with_budget(limits(budget))
        path = run or Path(processes.agreed(lambda: str(runs.free_path(runs.ROOT, loaded.experiment.name))))
        controls = controls_for(loaded.experiment, device, stop_after, processes)
        with stopped_on_time(controls, path, as_json=as_json):
            if seeds is None:
                summaries = [_train_one(loaded, path, controls, trackers, force=data is not None)]
            else:
                force = data is not None
                summaries = train_seeds(loaded, path, seeds, controls, trackers, force=force, show=not as_json)
            if processes.leads:
                finish(summaries, path, record=record, as_json=as_json, group=seeds is not None)


def _loaded(
    recipe: str | None, weights: str | None, data: str | None, changes: list[str], seed: int | None
) -> LoadedRecipe:
    """The recipe that is meant. With the weights of another run and none, one that goes on with them is made."""
    from snugnet import finetune, toml_text
    from snugnet import recipe as recipes

    if weights is None:
        if recipe is None:
            raise UsageError("train: needs a RECIPE, see `snug recipes`; or --from RUN --data FOLDER")
        return recipes.load(recipe, changes).with_data(data)
    if recipe is not None:
        begins = [f"train.init_from={toml_text.inline(weights)}", "train.transfer=true"]
        return recipes.load(recipe, [*begins, *changes]).with_data(data)
    if data is None:
        raise UsageError(f"--from {weights}: needs --data, the images to go on with; or a RECIPE, which names its own")
    loaded = finetune.own_data(weights, data, changes, seed or 0)
    show_warning(finetune.words(loaded.experiment))
    return loaded


def demo(as_json: Json = False) -> None:
    """The main job in minutes: CIFAR-10 if it is on disk or can be downloaded, else scikit-learn's digits.

    Example: snug demo
    """
    from snugnet import recipe as recipes
    from snugnet import runs
    from snugnet.data.sources import locate
    from snugnet.errors import StorageError

    try:
        found, why = locate("cifar10", show_download) is not None, ""
    except StorageError as error:
        found, why = False, str(error)
    dataset, name = ("cifar10", "snugnet/quickstart") if found else ("digits", "snugnet/digits")
    if not found:
        errors.print(
            f"CIFAR-10 is not on disk and cannot be had ({why}). The demo uses scikit-learn's 8x8 digits.",
            soft_wrap=True,
            markup=False,
        )
    loaded = recipes.load(name)
    errors.print(
        f"[bold]snug demo[/]: {name} on {dataset}. {escape(loaded.experiment.purpose)}. "
        f"Takes {escape(loaded.experiment.time)}.",
        soft_wrap=True,
    )
    path = runs.free_path(runs.ROOT, "demo")
    summary = _train_one(loaded, path, controls_for(loaded.experiment, "auto", None), (), force=False)
    if as_json:
        fields = {"run": str(path), "dataset": dataset, "params": summary["params"], "accuracy": summary["test"]}
        return print_json(fields | {"report": str(path / "report.html")})
    _print_result(summary, path)
    return out.print(f"Data: {dataset}")


def lr_find(
    recipe: Recipe,
    data: Data = None,
    low: Annotated[float, typer.Option(help="The first learning rate.")] = 1e-4,
    high: Annotated[float, typer.Option(help="The last one.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Batches from low to high.")] = 200,
    rise: Annotated[str, typer.Option(help="exponential or linear.")] = "exponential",
    smoothing: Annotated[float, typer.Option(help="Share of the newest loss in the smoothed one.")] = 0.05,
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path("lr_find.png"),
    device: Device = "auto",
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Range test: train while the learning rate rises; the curve, and between which rates the loss falls.

    Example: snug lr-find snugnet/quickstart --low 1e-3 --high 5
    """
    from snugnet import pipeline
    from snugnet import recipe as recipes
    from snugnet.errors import Diverged
    from snugnet.files import write_bytes
    from snugnet.report.plots import range_curve
    from snugnet.train.range_test import suggest

    plan = _range({"low": low, "high": high, "steps": steps, "rise": rise, "smoothing": smoothing})
    loaded = recipes.load(recipe, overrides or ()).with_data(data)
    controls = controls_for(loaded.experiment, device, None)
    points = []
    for point in pipeline.sweep_lr(loaded, plan, controls, force=data is not None):
        points.append(point)
        if len(points) % max(1, steps // 10) == 0:
            errors.print(f"step {len(points)}/{steps}  lr {point.lr:.2e}  loss {point.smoothed:.4f}")
    if not points:
        raise Diverged(f"the loss must be finite at the first rate, {low:g}, but is not; give a lower --low")
    found = suggest(points)
    plot = range_curve(points, found, exponential=rise == "exponential")
    write_bytes(output, plot.render("png", dpi=160, metadata={"Software": None}))
    if as_json:
        document = {"suggestion": found and vars(found), "curve": [vars(point) for point in points]}
        return print_json(document | {"path": str(output)})
    words = f"from {found.base:.2g} to {found.highest:.2g}" if found else "nowhere; give another --low and --high"
    return out.print(f"The loss falls {words}\nCurve: {output}", soft_wrap=True, markup=False)


def _range(values: dict[str, Any]) -> RangeConfig:
    from pydantic import ValidationError

    from snugnet import problems
    from snugnet.train.range_test import RangeConfig

    try:
        return RangeConfig.parse(values)
    except ValidationError as error:
        raise UsageError("\n".join(problems.explain(error, RangeConfig, "lr-find", {}))) from error


@contextlib.contextmanager
def together(device_name: str) -> Iterator[Processes]:
    """The processes that torchrun started. Of an error, the first that meets one tells."""
    from snugnet import device, parallel

    with parallel.joined(device.find_device(device_name)) as processes:
        try:
            yield processes
        except (Interrupted, Diverged):  # all raise it at the same step
            raise
        except BaseException:
            errors.quiet = not processes.speaks()
            raise


def controls_for(
    experiment: Experiment, device_name: str, stop_after: str | None, processes: Processes | None = None
) -> Controls:
    """Says on which device and in which precision, and prepares the wish to stop."""
    from snugnet import device, environment
    from snugnet.parallel import ALONE
    from snugnet.pipeline import Controls
    from snugnet.stopping import Stopper

    try:
        after_s = None if stop_after is None else units.parse_seconds(stop_after)
    except ValueError as error:
        raise UsageError(f"--stop-after: {error}") from error
    if note := experiment.train.schedule.fills(experiment.train.epochs):
        show_warning(note)
    compute = device.choose(device_name, experiment.train.precision)
    shared = processes or ALONE
    count = shared.place.count
    errors.print(
        f"{environment.hardware(compute.device)} · {compute.precision} · torch {environment.torch_version()}"
        + (f" · {count} processes" if count > 1 else ""),
        soft_wrap=True,
    )
    return Controls(
        device=device_name,
        stopper=Stopper(after_s),
        started=STARTED,
        download=show_download,
        warn=show_warning,
        processes=shared,
    )


@contextlib.contextmanager
def stopped_on_time(controls: Controls, path: Path, *, as_json: bool) -> Iterator[None]:
    """A training that --stop-after ended is a success, though not a finished one."""
    try:
        yield
    except Interrupted as stop:
        if not controls.stopper.only_deadline:
            raise
        errors.print(str(stop), soft_wrap=True, markup=False)
        if as_json and controls.processes.leads:
            print_json({"run": str(path), "finished": False, **dict.fromkeys(RESULT_FIELDS)})


@contextlib.contextmanager
def _kept(path: Path, experiment: Experiment, controls: Controls) -> Iterator[None]:
    """Says of a run that Ctrl-C ended at once how to go on with it."""
    from snugnet.pipeline import goes_on

    try:
        yield
    except KeyboardInterrupt as stop:
        if not (path / "config.json").is_file():
            raise
        raise Interrupted(
            f"Ctrl-C: stopped at once; {path} is kept up to its last checkpoint; "
            f"go on with: {goes_on(path, experiment, controls)}"
        ) from stop


def _observed(controls: Controls, experiment: Experiment, path: Path) -> tuple[Display, Controls]:
    import dataclasses

    display = Display(experiment.train.epochs, f"{experiment.name} · seed {experiment.seed} · {path}")
    return display, dataclasses.replace(controls, observe=display, planned=show_budget)


def _train_one(
    loaded: LoadedRecipe, path: Path, controls: Controls, trackers: Sequence[str], *, force: bool
) -> dict[str, Any]:
    from snugnet import pipeline
    from snugnet.track.observer import along

    display, observed = _observed(controls, loaded.experiment, path)
    with _kept(path, loaded.experiment, controls):
        with display:
            summary = along(trackers, path, observed, lambda told: pipeline.start(loaded, path, told, force=force))
        if controls.processes.leads:
            _report(path)
    return summary


def resume_one(path: Path, experiment: Experiment, controls: Controls, trackers: Sequence[str]) -> dict[str, Any]:
    from snugnet import pipeline
    from snugnet.track.observer import along

    display, observed = _observed(controls, experiment, path)
    with _kept(path, experiment, controls):
        with display:
            summary = along(trackers, path, observed, lambda told: pipeline.resume(path, told))
        if controls.processes.leads:
            _report(path)
    return summary


def train_prepared(
    loaded: LoadedRecipe, path: Path, device: str, stop_after: str | None, *, as_json: bool
) -> dict[str, Any] | None:
    """Trains a recipe that another command made; its summary, or None where --stop-after ended it before its end."""
    controls = controls_for(loaded.experiment, device, stop_after)
    summaries: list[dict[str, Any]] = []
    with stopped_on_time(controls, path, as_json=as_json):
        summaries.append(_train_one(loaded, path, controls, (), force=True))
    return summaries[0] if summaries else None


def resume_prepared(path: Path, device: str, stop_after: str | None, *, as_json: bool) -> dict[str, Any] | None:
    """The same of a run that has begun."""
    from snugnet import runs

    experiment = runs.read(path).experiment
    controls = controls_for(experiment, device, stop_after)
    summaries: list[dict[str, Any]] = []
    with stopped_on_time(controls, path, as_json=as_json):
        summaries.append(resume_one(path, experiment, controls, ()))
    return summaries[0] if summaries else None


def train_seeds(
    loaded: LoadedRecipe,
    root: Path,
    count: int,
    controls: Controls,
    trackers: Sequence[str],
    *,
    force: bool,
    show: bool,
) -> list[dict[str, Any]]:
    """Seeds from the recipe's on, each a run of its own in root, told as it ends; those that exist are gone on with."""
    import dataclasses
    import time

    from snugnet import lineage, pipeline, runs

    experiment, _ = pipeline.prepared(loaded.experiment, force=force)
    for seed in range(experiment.seed, experiment.seed + count):
        if not (root / f"seed-{seed}" / "config.json").is_file():  # known before the first seed has taken hours
            one = experiment.model_copy(update={"seed": seed})
            lineage.find(one)
            lineage.teachers(one)
    if controls.processes.leads:
        runs.create_group(root, loaded, count)
    controls = dataclasses.replace(controls, resumes=root)
    summaries = []
    for number in range(count):
        seeded = loaded.with_seed(loaded.experiment.seed + number)
        path = root / f"seed-{seeded.experiment.seed}"
        errors.print(f"seed {seeded.experiment.seed}, {number + 1} of {count}: {path}", soft_wrap=True, markup=False)
        if number:  # the first carries the command's start-up; the others begin here
            controls = dataclasses.replace(controls, started=time.monotonic())
        if controls.processes.agreed((path / "config.json").is_file):
            summaries.append(resume_one(path, seeded.experiment, controls, trackers))
        else:
            summaries.append(_train_one(seeded, path, controls, trackers, force=force))
        if show and controls.processes.leads:
            _print_result(summaries[-1], path, hint=False)
    return summaries


def _report(path: Path) -> None:
    from snugnet.cli.judging import write_run_report

    write_run_report(path)


def finish(summaries: list[dict[str, Any]], path: Path, *, record: bool, as_json: bool, group: bool) -> None:
    from snugnet import runs

    if record:
        for summary in summaries:
            runs.record_in_ledger(LEDGER, summary)
    if not group:
        document: dict[str, Any] = {"run": str(path), **{name: summaries[0][name] for name in RESULT_FIELDS}}
        return print_json(document) if as_json else _print_result(summaries[0], path)
    mean, std = _spread([summary["test"] for summary in summaries])
    tta_mean, tta_std = _spread([summary.get("tta_test") for summary in summaries])
    paths = [str(path / f"seed-{summary['seed']}") for summary in summaries]
    if as_json:
        return print_json({"runs": paths, "mean": mean, "std": std})
    if mean is None:
        return None
    views = f"; with {summaries[0]['tta']} {_percent(tta_mean, tta_std)}" if tta_mean is not None else ""
    out.print(
        f"[bold]test accuracy {_percent(mean, std)}[/]{views} (n={len(summaries)}), {summaries[0]['weights']} weights, "
        "shipped file",
        soft_wrap=True,
    )
    return out.print(f"Next:   snug compare {path} OTHER_RUNS", soft_wrap=True, markup=False)


def _percent(mean: float, std: float | None) -> str:
    return f"{100 * mean:.2f}{'' if std is None else f' ± {100 * std:.2f}'} %"


def _spread(accuracies: list[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation; None where there are no accuracies, or only one."""
    from statistics import mean, stdev

    known = [value for value in accuracies if value is not None]
    if not known:
        return None, None
    return mean(known), stdev(known) if len(known) > 1 else None


def _print_result(summary: dict[str, Any], path: Path, *, hint: bool = True) -> None:
    name = "test" if summary["test"] is not None else "val"
    if scores := summary["scores"].get(name):
        low, high = scores["accuracy_interval"]
        out.print(
            f"[bold]{name} accuracy {units.show_percent(scores['accuracy'])}[/] "
            f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %; {summary['weights']} weights, "
            f"epoch {summary['epoch']}), {summary['params']:,} parameters, {summary['bytes']:,} B, "
            f"{units.show_seconds(summary['seconds'])}",
            soft_wrap=True,
        )
    if summary.get("tta_test") is not None:
        out.print(f"with {summary['tta']}: {units.show_percent(summary['tta_test'])}")
    out.print(f"Report: {path / 'report.html'}", soft_wrap=True, markup=False)
    if hint:
        out.print(f"Next:   snug evaluate {path}  ·  snug compare {path} OTHER_RUN", soft_wrap=True, markup=False)
