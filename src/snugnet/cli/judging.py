"""After training: evaluate, report, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snugnet.cli.console import Data, Json, out, print_json
from snugnet.cli.display import show_corrupted
from snugnet.cli.scores import print_scores
from snugnet.errors import GateFailed, UsageError

if TYPE_CHECKING:
    from snugnet.device import Precision
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
    tta_mean: Annotated[str | None, typer.Option(help="Of the views: logits (the default) or probabilities.")] = None,
    tta_share: Annotated[
        float | None, typer.Option(help="Give the other views to this share of images alone, the least certain.")
    ] = None,
    gap: Annotated[
        bool,
        typer.Option("--gap", help="Judge the training images too (CIFAR-10: 45,000 more passes) and tell the gap."),
    ] = False,
    corrupt: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Judge corrupted images: all, or families (noise, blur, weather, digital, occlusion) and names with "
            "commas between. Each corruption is five passes of the split.",
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of the net's arithmetic: fp32, or bf16, quicker where a device is made for it.")
    ] = "fp32",
    images: Annotated[
        int | None, typer.Option(min=1, help="Judge this many images of the split, a fixed random sample.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Where the picture of --corrupt goes; a run keeps it in its plots/.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Judge the shipped file of a run on a split: accuracy with its interval, loss, per class, calibration, confusion.

    Example: snug evaluate runs/demo-001 --split test
    """
    from snugnet.judging import Asked
    from snugnet.judging import evaluate as judge

    if split not in ("train", "val", "test"):
        raise UsageError(f"--split {split}: must be train, val or test")
    if gap and split == "train":
        raise UsageError("--gap: holds another split against train; give --split val or test")
    if plots and corrupt is None:
        raise UsageError(f"--plots {plots}: is where the picture of corrupted images goes; give --corrupt as well")
    arithmetic: dict[str, Precision] = {"fp32": "fp32", "bf16": "bf16"}
    if precision not in arithmetic:
        raise UsageError(f"--precision {precision}: must be {' or '.join(arithmetic)}")
    words = () if corrupt is None else tuple(word.strip() for word in corrupt.split(","))
    with show_corrupted() as watch:
        asked = Asked(count=images, gap=gap, corrupt=words, watch=watch, precision=arithmetic[precision])
        result = judge(run, split, data, views(tta, tta_mean, tta_share), asked)
    if as_json:
        print_json(result)
    else:
        print_scores(result)
    folder = plots or (run / "plots" if run.is_dir() else None)
    if result["corruption"] and folder:
        _draw_corruption(result["corruption"], folder, quiet=as_json)


def _draw_corruption(found: dict[str, Any], folder: Path, *, quiet: bool) -> None:
    from snugnet.report.robustness import corruption_bars, save_both

    paths = save_both(corruption_bars(found), folder)
    if not quiet:
        out.print(f"Pictures: {', '.join(map(str, paths))}", soft_wrap=True, markup=False)


def views(name: str | None, mean_of: str | None = None, share: float | None = None) -> TtaConfig | None:
    from typing import get_args

    from snugnet.evaluate.tta import MeanOf, TtaConfig, TtaName
    from snugnet.problems import nearest

    if name is None:
        for option, value in (("--tta-mean", mean_of), ("--tta-share", share)):
            if value is not None:
                raise UsageError(f"{option} {value}: says how views are used; give --tta as well")
        return None
    for option, given, known in (("--tta", name, get_args(TtaName)), ("--tta-mean", mean_of, get_args(MeanOf))):
        if given is not None and given not in known:
            raise UsageError(f"{option} {given}: must be one of {', '.join(known)}{nearest(given, known)}")
    if share is not None and not 0 < share <= 1:
        raise UsageError(f"--tta-share {share:g}: must be above 0 and at most 1, a share of the images")
    given_values = {"name": name, "mean_of": mean_of, "least_certain": share}
    return TtaConfig.parse({key: value for key, value in given_values.items() if value is not None})


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
