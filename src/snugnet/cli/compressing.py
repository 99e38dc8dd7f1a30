"""From a finished run to a smaller one: compress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from snugnet import units
from snugnet.cli.console import Json, Overrides, errors, escape, out, print_json
from snugnet.cli.display import show_warning
from snugnet.cli.training import Device, StopAfter, train_prepared
from snugnet.errors import UsageError

if TYPE_CHECKING:
    from snugnet.compress.prune import PruneConfig
    from snugnet.ship.shrink import Child, Pruned


def register(app: typer.Typer) -> None:
    app.command()(compress)


def compress(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    prune: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET", help="Remove channels until it fits: params=80k, bytes=300kB, macs=20M, or macs=50%."
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="What a channel matters: taylor, bn_scale or magnitude.")] = "taylor",
    scope: Annotated[
        str, typer.Option(help="global: rank all channels together; uniform: the same share of each group.")
    ] = "global",
    floor: Annotated[float, typer.Option(help="Share of its channels that each layer keeps; one in any case.")] = 0.0,
    multiple: Annotated[int, typer.Option(help="Cut groups to multiples of this, for fast hardware.")] = 1,
    epochs: Annotated[
        int | None, typer.Option(min=0, help="Of fine-tuning; else a third of the run's, rounded up. 0: none.")
    ] = None,
    into: Annotated[Path | None, typer.Option("--run", help="The new run; else runs/<recipe>-pruned-<number>.")] = None,
    device: Device = "auto",
    stop_after: StopAfter = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Make a finished run smaller: an ordinary run, fine-tuned, shipped and judged, beside the one it came from.

    Example: snug compress runs/snugnet-quickstart-001 --prune macs=50%
    """
    from snugnet import runs
    from snugnet.device import find_device
    from snugnet.ship import shrink

    if prune is None:
        raise UsageError("compress: must be told how; give --prune, for example --prune params=80k or --prune macs=50%")
    config = _config(by=by, scope=scope, floor=floor, multiple=multiple)
    wish = shrink.Wish(shrink.Pruning(prune, config), epochs, overrides or ())
    made = shrink.child(run, wish, into, find_device(device))
    _show_groups(made.pruned)
    if train_prepared(made.recipe, made.path, device, stop_after, as_json=as_json) is None:
        return None
    document = shrink.beside(runs.read(run), runs.read(made.path)) | {"pruned": made.pruned.plain(wish.prune)}
    if as_json:
        return print_json(document)
    return _print_beside(document, made)


def _config(**values: Any) -> PruneConfig:
    from pydantic import ValidationError

    from snugnet import problems
    from snugnet.compress.prune import PruneConfig

    try:
        return PruneConfig.parse(values)
    except ValidationError as error:
        raise UsageError("\n".join(problems.explain(error, PruneConfig, "compress", {}))) from error


def _show_groups(pruned: Pruned) -> None:
    for group in pruned.groups:
        others = f" and {group.layers - 1} more" if group.layers > 1 else ""
        errors.print(f"{group.layer}{others}: {group.before} channels to {group.after}", soft_wrap=True, markup=False)
    if pruned.fixed:
        show_warning(f"cannot be pruned, and stay as they are: {', '.join(pruned.fixed)}")


def _print_beside(document: dict[str, Any], made: Child) -> None:
    parent = document["parent"]
    table = Table(box=None, pad_edge=False)
    for column in ("", "before", "pruned", "change"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, key in (("parameters", "params"), ("MACs", "macs"), ("bytes", "bytes")):
        before, after = parent[key], document[key]
        table.add_row(name, f"{before:,}", f"{after:,}", f"{100 * (after / before - 1):+.1f} %")
    for split in ("val", "test"):
        before, after = parent[split], document[split]
        if before is not None and after is not None:
            change = f"{100 * (after - before):+.2f} points"
            table.add_row(f"{split} accuracy", units.show_percent(before), units.show_percent(after), change)
    out.print(table)
    if test := document["images"]:
        out.print(_in_images(document["split"], test), soft_wrap=True)
    out.print(f"Run:    {escape(document['run'])}", soft_wrap=True)
    return out.print(
        f"Next:   snug compare {parent['run']} {made.path}  ·  snug bench {parent['run']} {made.path}",
        soft_wrap=True,
        markup=False,
    )


def _in_images(split: str, test: dict[str, Any]) -> str:
    from snugnet.compare.pairs import image_words
    from snugnet.evaluate.significance import ImageTest

    return f"On the same {split} images: {image_words('the parent', 'the pruned net', ImageTest.parse(test))}."
