"""After training: explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from snugnet import units
from snugnet.cli.console import Json, errors, escape, out, print_json


def register(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Image files or folders of them; without any, the most confident mistakes on test."),
    ] = None,
    other: Annotated[Path | None, typer.Option("--with", help="Another run, shown below on the same images.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the pictures go; RUN/plots/explain if not given.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Whose map Grad-CAM shows, such as stages.1.0; else the last before the head.")
    ] = None,
    patch: Annotated[
        int | None, typer.Option(min=1, help="Side in pixels of what is hidden; else a quarter of the image's.")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Pixels from one hidden patch to the next; else half a patch.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many mistakes, where no image is given.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: Json = False,
) -> None:
    """Show where a net looks: Grad-CAM and occlusion maps for the predicted and the true class, and its first filters.

    Example: snug explain runs/demo-001 --with runs/demo-002
    """
    from snugnet.report.explained import How
    from snugnet.report.explained import explain as look

    how = How(layer=layer, patch=patch, stride=stride, count=count, device=device)
    found = look(run, images or (), output=output, other=other, how=how)
    for each in (each for each in found["layers"] if each["map_size"] == 1):
        errors.print(
            f"{each['run']}: the map of {each['layer']} is 1×1 and says nothing of where; give an earlier --layer",
            soft_wrap=True,
            markup=False,
        )
    for each in (each for each in found["images"] if each["converted"]):
        errors.print(f"{each['image']}: {each['converted']}", soft_wrap=True, markup=False)
    return print_json(found) if as_json else _print_explained(found)


def _print_explained(found: dict[str, Any]) -> None:
    table = Table()
    for column in ("picture", "true", "predicted", "probability"):
        table.add_column(column, justify="right" if column == "probability" else "left", overflow="fold")
    for each in found["images"]:
        name = Path(each["path"]).name
        shown = "–" if each["true"] is None else each["true"]
        table.add_row(escape(name), escape(shown), escape(each["predicted"]), units.show_percent(each["probability"]))
    out.print(table)
    for each in found["layers"]:
        words = f"{each['run']}: Grad-CAM of {each['layer']}, a map of {each['map_size']}×{each['map_size']}; "
        values = found["concentration"][each["run"]]
        shares = _share(values["grad_cam"]), _share(values["occlusion"])
        held = f"half of it lies on {shares[0]} of the pixels, of occlusion on {shares[1]}"
        out.print(words + held, soft_wrap=True, markup=False)
    out.print(f"occlusion hides {found['patch']}×{found['patch']} pixels, every {found['stride']}")
    if found["agreement"]:
        both = ", ".join(f"{name.replace('_', '-')} {_number(value)}" for name, value in found["agreement"].items())
        out.print(f"agreement of the two nets' maps (mean correlation): {both}")
    out.print(f"Pictures: {found['output']}", soft_wrap=True, markup=False)


def _share(value: float | None) -> str:
    return "–" if value is None else units.show_percent(value, 1)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
