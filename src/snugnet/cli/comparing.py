"""After training: compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from snugnet import units
from snugnet.cli.console import Json, escape, out, print_json
from snugnet.errors import GateFailed

if TYPE_CHECKING:
    from snugnet.compare import Comparison, Group

DASH = "–"


def register(app: typer.Typer) -> None:
    app.command()(compare)


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_OR_FILE...", help="Run directories, those of several seeds, and shipped files."),
    ],
    split: Annotated[str | None, typer.Option(help="test or val; else test, or val where a run has no test.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="What shipped files are judged on; else the first run's, or cifar10.")
    ] = None,
    require: Annotated[
        str | None,
        typer.Option("--require", metavar="LIMITS", help="As p50_ms<1,bytes<550kB,accuracy>=90%; exit 5 if none fits."),
    ] = None,
    pick: Annotated[
        bool, typer.Option("--pick", help="Name the one to ship: the most accurate that meets --require.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Also write the comparison as one page.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the tables as CSV: F, F-runs and F-tests.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Also write the tables as LaTeX, for booktabs.")] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write every plot there, as PDF and PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare runs: means over seeds, paired tests, Pareto fronts, learning by time and by training FLOPs.

    Example: snug compare runs/a-001 runs/b-001 --require 'bytes<550kB' --pick --html comparison.html
    """
    from snugnet.compare import choosing_among, open_records
    from snugnet.compare import compare as compare_records
    from snugnet.compare.choosing import nothing_fits, parse_requirements

    required = () if require is None else parse_requirements(require)
    comparison = compare_records(*open_records(paths, data, split))
    if required or pick:
        comparison = choosing_among(comparison, required, pick=pick)
    written = _written(comparison, html=html, csv=csv, latex=latex, figures=figures)
    if as_json:
        print_json(comparison.plain())
    else:
        _print_comparison(comparison)
        for path in written:
            out.print(f"Written: {path}", soft_wrap=True, markup=False)
    if comparison.choice and not comparison.choice.fitting:
        raise GateFailed(nothing_fits(comparison.choice, len(comparison.groups)))


def _written(
    comparison: Comparison, *, html: Path | None, csv: Path | None, latex: Path | None, figures: Path | None
) -> list[Path]:
    """Writes what was asked for; the paths of it, figures as their folder."""
    written: list[Path] = []
    if csv or latex:
        from snugnet.compare.tables import write_csv, write_latex

        written += write_csv(comparison, csv) if csv else []
        written += [write_latex(comparison, latex)] if latex else []
    if figures:
        from snugnet.report.comparison_plots import save_figures

        save_figures(comparison, figures)
        written.append(figures)
    if html:
        from snugnet.report.comparison import write_comparison

        written.append(write_comparison(comparison, html))
    return written


def _print_comparison(comparison: Comparison) -> None:
    for test in comparison.tests:
        if not test.same_data:
            out.print(f"· {test.verdict}", soft_wrap=True, markup=False)
    out.print(_groups(comparison))
    if any(group.reached for group in comparison.groups):
        out.print(_speed(comparison))
        for note in comparison.equal_flops.notes if comparison.equal_flops else ():
            out.print(f"training FLOPs: {note}", soft_wrap=True, markup=False)
    if disturbed := [group.name for group in comparison.groups if group.disturbed]:
        words = f"† latency: other work ran beside {', '.join(disturbed)}; repeat `snug bench` on a quiet machine"
        out.print(words, soft_wrap=True, markup=False)
    for test in comparison.tests:
        if test.same_data:
            out.print(f"· {test.verdict}", soft_wrap=True, markup=False)
    if comparison.choice:
        _print_choice(comparison, comparison.choice)


def _groups(comparison: Comparison) -> Table:
    from snugnet.compare.tables import shown_latency

    is_timed = any(group.p50_ms is not None for group in comparison.groups)
    table = Table(title=f"{comparison.split} accuracy")
    table.add_column("runs", overflow="fold")
    for column in ("n", "accuracy", "params", "bytes", "MACs", *(["p50, ms"] if is_timed else []), "front"):
        table.add_column(column, justify="right", no_wrap=True)
    for group in comparison.groups:
        front = "★" if group.name in comparison.pareto else ""
        sizes = (units.show_count(group.params), units.show_bytes(group.bytes), units.show_count(group.macs))
        latency = [shown_latency(group)] if is_timed else []
        table.add_row(escape(group.name), str(group.n), _accuracy(group), *sizes, *latency, front)
    return table


def _accuracy(group: Group) -> str:
    std = "" if group.std is None else f" ± {100 * group.std:.2f}"
    return f"{100 * group.mean:.2f}{std} %"


def _speed(comparison: Comparison) -> Table:
    """Epochs and seconds to each target on val, and accuracy at equal training FLOPs."""
    from snugnet.compare.tables import reached_targets

    equal, places = comparison.equal_flops, reached_targets(comparison)
    table = Table(title="epochs · seconds to reach on val, mean of all seeds" if places else None)
    table.add_column("runs", overflow="fold")
    for place in places:
        table.add_column(f"{100 * comparison.targets[place]:g} %", justify="right", no_wrap=True)
    if equal:
        table.add_column(f"val at {units.show_flops(equal.flops)}", justify="right")
    for group in comparison.groups:
        if group.reached:
            speed = [group.reached[place] for place in places]
            cells = [f"{_or_dash(each.epochs, '{:.1f}')} · {_or_dash(each.seconds, '{:.0f}')}" for each in speed]
            at = equal.means.get(group.name) if equal else None
            spent = [DASH if at is None else units.show_percent(at)] if equal else []
            table.add_row(escape(group.name), *cells, *spent)
    return table


def _or_dash(value: float | None, form: str) -> str:
    return DASH if value is None else form.format(value)


def _print_choice(comparison: Comparison, choice: Any) -> None:
    for name in dict.fromkeys(each.group for each in choice.misses):
        lacks = "; ".join(each.told for each in choice.misses if each.group == name)
        out.print(f"does not fit: {name}: {lacks}", soft_wrap=True, markup=False)
    if choice.requirements and choice.fitting:
        out.print(f"fits: {', '.join(choice.fitting)}", soft_wrap=True, markup=False)
    if comparison.picked:
        out.print(f"ship {choice.words}", soft_wrap=True, markup=False)
        out.print(f"its file: {choice.file}", soft_wrap=True, markup=False)
        for note in choice.notes:
            out.print(note, soft_wrap=True, markup=False)
