"""Data sets: data check, data show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from snugnet.cli.console import Json, Overrides, escape, out, print_json
from snugnet.errors import DataError


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Look at data sets: what they hold, what is wrong with them.", no_args_is_help=True)
    group.command()(check)
    group.command()(show)
    app.add_typer(group, name="data")


def check(
    path: Annotated[str, typer.Argument(metavar="PATH", help="cifar10, digits, ..., a folder of images, or a CSV.")],
    as_json: Json = False,
) -> None:
    """Say what a data set holds and everything that is wrong with it; exit 4 when it cannot be trained on.

    Example: snug data check cifar10
    """
    from snugnet.data.check import check as look

    found = look(path)
    problems = [vars(problem) for problem in found.problems]
    if as_json:
        images = {split: sum(counts.values()) for split, counts in found.images.items()}
        document = {"classes": list(found.classes), "images": images, "per_class": found.images, "sizes": found.sizes}
        print_json(document | {"problems": problems})
    else:
        _print_check(found)
    errors = [problem for problem in found.problems if problem.severity == "error"]
    if errors:
        raise DataError(f"{path}: {len(errors)} problems make it unusable; they are listed above")


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A data set, or a recipe, whose augmentation is then shown.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path("samples.png"),
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Draw training images as a recipe's net sees them, augmented.

    Example: snug data show snugnet/quickstart -o samples.png
    """
    from snugnet import recipe
    from snugnet.report.of_run import draw_samples

    is_recipe = name in recipe.builtin_names() or name.endswith(".toml")
    loaded = recipe.load(name if is_recipe else "snugnet/quickstart", overrides or ())
    loaded = loaded if is_recipe else loaded.with_data(name)
    draw_samples(output, loaded.experiment)
    return print_json({"path": str(output)}) if as_json else out.print(str(output), soft_wrap=True, markup=False)


def _print_check(found: Any) -> None:
    table = Table(title=f"{escape(found.name)}: {len(found.classes)} classes")
    table.add_column("class")
    for split in found.images:
        table.add_column(split, justify="right")
    for name in found.classes:
        table.add_row(escape(name), *(f"{counts[name]:,}" for counts in found.images.values()))
    table.add_section()
    table.add_row("all", *(f"{sum(counts.values()):,}" for counts in found.images.values()))
    out.print(table)
    out.print("sizes: " + ", ".join(f"{size} ({count:,})" for size, count in found.sizes.items()))
    for problem in found.problems:
        out.print(
            f"{problem.severity}: {problem.subject}: {problem.message}: {problem.remedy}", soft_wrap=True, markup=False
        )
    if not found.problems:
        out.print("No problem found.")
