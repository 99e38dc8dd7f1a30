"""After training: evaluate, report, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from snugnet import units
from snugnet.cli.console import Data, Json, escape, out, print_json
from snugnet.errors import GateFailed, UsageError

if TYPE_CHECKING:
    from snugnet.evaluate.tta import TtaConfig

RunPath = Annotated[Path, typer.Argument(help="A run directory.")]
RunPaths = Annotated[list[Path], typer.Argument(help="Run directories; that of several seeds stands for all of them.")]


def register(app: typer.Typer) -> None:
    for command in (evaluate, report, verify):
        app.command()(command)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory or a shipped file.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    tta: Annotated[
        str | None, typer.Option(help="Several views an image: mirror, mirror_translate, ten_crop or patil25.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Judge the shipped file of a run on a split: accuracy with its interval, loss, per class, calibration, confusion.

    Example: snug evaluate runs/demo-001 --split test
    """
    from snugnet.judging import evaluate as judge

    if split not in ("train", "val", "test"):
        raise UsageError(f"--split {split}: must be train, val or test")
    result = judge(run, split, data, _views(tta))
    return print_json(result) if as_json else _print_scores(result, split)


def _views(name: str | None) -> TtaConfig | None:
    from typing import get_args

    from snugnet.evaluate.tta import TtaConfig, TtaName
    from snugnet.problems import nearest

    if name is None:
        return None
    known = get_args(TtaName)
    if name not in known:
        raise UsageError(f"--tta {name}: must be one of {', '.join(known)}{nearest(name, known)}")
    return TtaConfig.parse({"name": name})


def report(
    run_paths: RunPaths,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where the page goes.")] = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about a run, or about several side by side.

    Example: snug report runs/demo-001
    """
    from snugnet import runs

    paths = [path for each in run_paths for path in runs.members(each)]
    if len(paths) == 1:
        page = write_run_report(paths[0], output)
    else:
        from snugnet.compare import compare as compare_records
        from snugnet.report.comparison import write_comparison

        records = [runs.read(path) for path in paths]
        page = write_comparison(compare_records(records), output or Path("comparison.html"))
    return print_json({"path": str(page)}) if as_json else out.print(str(page), soft_wrap=True, markup=False)


def verify(run: RunPath, as_json: Json = False) -> None:
    """Hold a run against what its recipe expects; exit 5 when it falls short.

    Example: snug verify runs/snugnet-quickstart-001
    """
    from snugnet.judging import verify as hold

    checks = hold(run)
    ok = all(check["ok"] for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": checks})
    else:
        for check in checks:
            mark = "[green]ok[/]  " if check["ok"] else "[red]short[/]"
            out.print(
                f"{mark} {check['name']}: expected {check['expected']}, measured {check['measured']}", soft_wrap=True
            )
    if not ok:
        short = ", ".join(check["name"] for check in checks if not check["ok"])
        raise GateFailed(f"{run}: falls short of its recipe's [expect] in {short}; see the lines above")


def write_run_report(path: Path, output: Path | None = None) -> Path:
    from snugnet.report.of_run import report_run

    return report_run(path, output)


def _print_scores(result: dict[str, Any], split: str) -> None:
    low, high = result["accuracy_interval"]
    out.print(
        f"[bold]{split} accuracy {units.show_percent(result['accuracy'])}[/] "
        f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %, {result['images']:,} images), "
        f"top-5 {units.show_percent(result['top5'])}, loss {result['loss']:.4f}",
        soft_wrap=True,
    )
    if tta := result["tta"]:
        out.print(
            f"with {tta['name']} ({tta['passes']} passes an image); without it "
            f"{units.show_percent(tta['accuracy_without'])}",
            soft_wrap=True,
        )
    out.print(
        f"macro precision {result['macro_precision']:.4f}, recall {result['macro_recall']:.4f}, "
        f"F1 {result['macro_f1']:.4f}, expected calibration error {units.show_percent(result['ece'])}",
        soft_wrap=True,
    )
    table = Table(title="per class")
    for column in ("class", "images", "accuracy", "precision", "F1"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in result["per_class"]:
        numbers = [f"{row[name]:.4f}" for name in ("accuracy", "precision", "f1")]
        table.add_row(escape(row["class"]), f"{row['support']:,}", *numbers)
    out.print(table)
