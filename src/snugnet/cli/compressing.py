"""From a finished run to a smaller one: compress."""

from __future__ import annotations

from collections.abc import Sequence
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
    import torch

    from snugnet.compress.prune import PruneConfig
    from snugnet.ship.ladder import Rung
    from snugnet.ship.shrink import Pruned
    from snugnet.ship.ways import Way


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
    to: Annotated[
        str | None, typer.Option(metavar="BYTES", help="Fit a file: try the formats and pruning on val, take the best.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Weights and activations of 8 bits.")] = False,
    int4: Annotated[bool, typer.Option("--int4", help="Weights of 4 bits, which has to be learned.")] = False,
    float16: Annotated[bool, typer.Option("--float16", help="Weights of 16 bits.")] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of training; else a third of the run's, rounded up, for --prune and --int4, none for the others.",
        ),
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--run", help="The new run; else runs/<recipe>-<what was done>-<number>.")
    ] = None,
    device: Device = "auto",
    stop_after: StopAfter = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Make a finished run smaller: an ordinary run, fine-tuned, shipped and judged, beside the one it came from.

    Example: snug compress runs/snugnet-quickstart-001 --to 400kB
    """
    from snugnet import runs
    from snugnet.device import find_device
    from snugnet.ship import shrink, ways

    formats = [name for name, given in (("int8", int8), ("int4", int4), ("float16", float16)) if given]
    _check_ways(prune, to, formats)
    config, where = _config(by=by, scope=scope, floor=floor, multiple=multiple), find_device(device)
    document: dict[str, Any] = {}
    if to is not None:
        way, document["ladder"] = _climbed(run, to, where, epochs, overrides or ())
    else:
        way = ways.chosen(
            shrink.Pruning(prune, config) if prune else None, formats[0] if formats else None, epochs, overrides or ()
        )
    source = run
    for child in way.children(run, into, where):
        if child.pruned and way.pruning:
            _show_groups(child.pruned)
            document["pruned"] = child.pruned.plain(way.pruning.prune)
        if train_prepared(child.recipe, child.path, device, stop_after, as_json=as_json) is None:
            return None
        source = child.path
    document = shrink.beside(runs.read(run), runs.read(source)) | document
    if as_json:
        return print_json(document)
    return print_beside(document, source)


def _check_ways(prune: str | None, to: str | None, formats: list[str]) -> None:
    if to is not None and (prune or formats):
        raise UsageError("compress: --to chooses the way itself; give it alone, or the way without it")
    if len(formats) > 1:
        raise UsageError(f"compress: --{' and --'.join(formats)}: a net is kept in one format; give one")
    if not (prune or to or formats):
        raise UsageError(
            "compress: must be told how; give --to 100kB, or --int8, --int4, --float16, or --prune, for example "
            "--prune macs=50%"
        )


def _climbed(
    run: Path, to: str, where: torch.device, epochs: int | None, changes: Sequence[str]
) -> tuple[Way, list[dict[str, Any]]]:
    """The way to so many bytes, and the ladder, shown as it is climbed."""
    from snugnet.ship import ways

    try:
        size_bytes = units.parse_bytes(to)
    except ValueError as error:
        raise UsageError(f"--to {to}: {error}") from error
    errors.print("what each way takes, and its accuracy on val before it learns:", soft_wrap=True, markup=False)
    way, rungs, best = ways.to_bytes(run, size_bytes, where, _show_rung, epochs, changes)
    errors.print(
        f"taken, of those that fit with the least loss on val: {_rung_name(best)}", soft_wrap=True, markup=False
    )
    if way.pruning and way.rounding:
        show_warning(
            f"two runs follow, a pruned one and that one in {best.format}; should the first be stopped, "
            "`snug resume` of it goes on to the second"
        )
    return way, [rung.plain() | {"chosen": rung is best} for rung in rungs]


def _show_rung(rung: Rung) -> None:
    accuracy = units.show_percent(rung.val_accuracy)
    errors.print(f"  {_rung_name(rung):24} {rung.size_bytes:>12,} B  {accuracy}", soft_wrap=True, markup=False)


def _rung_name(rung: Rung) -> str:
    return f"{rung.format}, pruned" if rung.pruned else rung.format


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


def print_beside(document: dict[str, Any], made: Path) -> None:
    parent = document["parent"]
    table = Table(box=None, pad_edge=False)
    for column in ("", "before", "after", "change"):
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
        f"Next:   snug compare {parent['run']} {made}  ·  snug bench {parent['run']} {made}",
        soft_wrap=True,
        markup=False,
    )


def _in_images(split: str, test: dict[str, Any]) -> str:
    from snugnet.compare.pairs import image_words
    from snugnet.evaluate.significance import ImageTest

    return f"On the same {split} images: {image_words('the parent', 'the smaller net', ImageTest.parse(test))}."
