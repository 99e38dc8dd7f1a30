"""Before training: recipes, show, plan, design."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from snugnet import units
from snugnet.cli.console import Data, Json, Overrides, errors, escape, out, print_json, require_recipe
from snugnet.cli.display import bar, show_warning

if TYPE_CHECKING:
    from snugnet.artifact import Card
    from snugnet.budget import Budget, Cost
    from snugnet.explore import Found
    from snugnet.recipe import Experiment

Recipe = Annotated[str, typer.Argument(help="A built-in recipe (see `snug recipes`) or a TOML file.")]
BudgetText = Annotated[
    str | None,
    typer.Option("--budget", help="Limits: params=5M,bytes=1MB,macs=40M,ram=64kB; or a window: size_mb=RECIPE±2%."),
]

PURPOSE_WIDTH = 130  # columns of a terminal from which there is room for a sentence


def register(app: typer.Typer) -> None:
    for command in (recipes, show, plan, design):
        app.command()(command)


def recipes(as_json: Json = False) -> None:
    """List the built-in recipes: source, parameters, published and measured accuracy.

    Example: snug recipes
    """
    from snugnet import builtin

    rows = builtin.listed()
    if as_json:
        return print_json(rows)
    table = Table(caption="published: as a paper prints it · measured: by us, test split, last epoch, shipped file")
    for column in ("recipe", "parameters", "published", "measured"):
        table.add_column(column, justify="left" if column == "recipe" else "right", no_wrap=True)
    is_wide = out.width >= PURPOSE_WIDTH
    if is_wide:
        table.add_column("purpose")
    for row in rows:
        accuracies = [row["published_accuracy"], row["measured_accuracy"]]
        shown = ["–" if value is None else units.show_percent(value) for value in accuracies]
        table.add_row(escape(row["name"]), f"{row['params']:,}", *shown, *([row["purpose"]] if is_wide else []))
    return out.print(table)


def show(recipe: Recipe, overrides: Overrides = None, as_json: Json = False) -> None:
    """Print a recipe with every value resolved, where each came from, and what its optimizer or schedule does not read.

    Example: snug show snugnet/quickstart --set train.epochs=5
    """
    require_recipe(recipe)
    from snugnet import toml_text
    from snugnet.recipe import load

    loaded = load(recipe, overrides or ())
    values = loaded.experiment.plain()
    if as_json:
        return print_json(values)
    train = loaded.experiment.train
    unread = {
        f"train.{table}.{key}": f"not read by {config.name}"
        for table, config in (("optimizer", train.optimizer), ("schedule", train.schedule))
        for key in config.unread
    }

    def remark(path: str) -> str:
        return "; ".join(filter(None, (loaded.origin(path), unread.get(path))))

    return out.print(toml_text.document(values, remark), markup=False, soft_wrap=True)


def plan(
    recipe: Recipe,
    budget: BudgetText = None,
    against: Annotated[str | None, typer.Option(help="Another recipe: print the change in percent.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Predict the memory that training takes at this batch size.")
    ] = None,
    diagram: Annotated[Path | None, typer.Option(help="Also draw the net into this SVG file.")] = None,
    data: Data = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Price a design before training: parameters, bytes, MACs, activations, layer by layer.

    Example: snug plan snugnet/quickstart --budget params=5M,bytes=20MB
    """
    require_recipe(recipe)
    from snugnet import budget as counting
    from snugnet.design import require_fit
    from snugnet.recipe import load

    experiment = load(recipe, overrides or ()).with_data(data).experiment
    card, cost = _priced(experiment, force=data is not None)
    if note := experiment.train.schedule.fills(experiment.train.epochs):
        show_warning(note)
    held_to = limits(budget) if budget else experiment.budget
    excess = counting.excess(cost, held_to)
    document: dict[str, Any] = {"recipe": recipe, **cost.plain(), "fits": not excess, "budget": held_to.limits()}
    if excess:
        document |= {"excess": excess, "suggestion": _suggestion(card, held_to)}
    if against:
        document["against"] = _change(cost, against)
    if diagram:
        document["diagram"] = _drawn(card, diagram)
    if batch:
        document["training_memory_bytes"] = _memory(card, experiment, batch)
    if as_json:
        print_json(document)
    else:
        _print_plan(document, held_to)
        _note_single_pixels(card)
        if batch and experiment.distill:
            show_warning("the training memory is without the teachers of [distill], which a plan does not look for")
    require_fit(cost, held_to, recipe, lambda: document["suggestion"])


def design(
    budget: Annotated[str, typer.Option("--budget", help="Limits: params=5M,bytes=1MB,macs=40M.")],
    like: Annotated[
        str | None, typer.Option(help="The recipe whose net is widened or narrowed, instead of the search.")
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Search over widths, depths and blocks of --like's net too.")
    ] = False,
    data: Data = None,
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the recipe to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Make a recipe that fits a budget: the best of all nets like snugnet/quickstart's by a stated rule, or with --like
    the widest of the given kind.

    Example: snug design --budget params=137k,macs=40M -o small.toml
    """
    from snugnet import budget as counting
    from snugnet import design as designs
    from snugnet import files, toml_text
    from snugnet.recipe import load

    held_to, base = limits(budget), like or "snugnet/quickstart"
    experiment = load(base, overrides or ()).with_data(data).experiment
    card, _ = _priced(experiment, force=data is not None)
    searched = _explored(card, held_to) if search or not like else None
    if searched:
        found = designs.with_model(experiment, searched.ranked[0].model, held_to)
    else:
        found = designs.widest(experiment, card, held_to)
    _, cost = _priced(found, force=True)
    counting.check(cost, held_to, "the best design" if searched else "the widest design")  # a window has a floor too
    headroom = {name: 1 - getattr(cost, name) / limit for name, limit in held_to.limits().items()}
    text = toml_text.document(_as_recipe(found, like, budget, searched))
    if experiment.train.init_from:
        show_warning("left train.init_from out; a net of another width cannot begin with those weights")
    if output:
        files.write_text(output, text + "\n")
    if as_json:
        document = {"recipe": text, "params": cost.params, "headroom": headroom, "path": str(output or "")}
        return print_json({**document, **(_of_search(searched) if searched else {})})
    if not output:
        out.print(text, markup=False, soft_wrap=True)
    if searched:
        _print_search(searched)
    used = ", ".join(f"{name} {100 * (1 - share):.2f} %" for name, share in headroom.items())
    errors.print(f"{cost.params:,} parameters; of the budget used: {used}")
    saved = f"snug train {output}" if output else "save it with -o small.toml, then snug train small.toml"
    return errors.print(f"Next: {saved}", soft_wrap=True, markup=False)


def _explored(card: Card, held_to: Budget) -> Found:
    from snugnet.explore import explore

    return explore(card, held_to)


def _of_search(searched: Found) -> dict[str, Any]:
    from snugnet.explore import described

    counted = {"priced": searched.priced, "fitting": searched.fit, "seconds": searched.seconds}
    return {**counted, "per_second": searched.per_second, "ranked": [described(card) for card in searched.ranked]}


def _print_search(searched: Found) -> None:
    found = _of_search(searched)
    errors.print(
        f"{found['priced']:,} designs priced in {found['seconds']:.2f} s ({found['per_second']:,.0f} a second); "
        f"{found['fitting']:,} fit. The best by the rule of docs/budget.md:",
        soft_wrap=True,
    )
    table = Table()
    for column in ("block", "blocks", "widths", "parameters", "MACs"):
        table.add_column(column, justify="left" if column == "block" else "right", no_wrap=True)
    for each in found["ranked"]:
        blocks, widths = (" ".join(map(str, each[name])) for name in ("blocks", "widths"))
        table.add_row(each["block"], blocks, widths, f"{each['params']:,}", f"{each['macs']:,}")
    errors.print(table)


def _priced(experiment: Experiment, *, force: bool = False) -> tuple[Card, Cost]:
    from snugnet import budget as counting
    from snugnet import pipeline

    card = pipeline.planned_card(experiment, force=force)
    return card, counting.price(card)


def limits(text: str) -> Budget:
    """A budget as written on the command line."""
    from snugnet.design import parse_budget
    from snugnet.recipe import load

    return parse_budget(text, lambda name: _priced(load(name).experiment)[1])


def _suggestion(card: Card, held_to: Budget) -> dict[str, Any] | None:
    from snugnet.design import suggestion

    return suggestion(card, held_to)


def _change(cost: Cost, other: str) -> dict[str, Any]:
    """Change from the other recipe to this one, as fractions."""
    from snugnet.budget import MEASURES
    from snugnet.recipe import load

    _, base = _priced(load(other).experiment)
    found = {name: (getattr(cost, name), getattr(base, name)) for name in MEASURES}
    change = {name: here / there - 1 for name, (here, there) in found.items() if None not in (here, there)}
    return {"recipe": other, "change": change}


def _drawn(card: Card, path: Path) -> str:
    from snugnet import files
    from snugnet.report.diagram import svg

    files.write_text(path, svg(card.model, alone=True))
    return str(path)


def _memory(card: Card, experiment: Experiment, batch: int) -> int:
    from snugnet import device, memory

    compute = device.choose("auto", experiment.train.precision)
    net = card.model.trained_as(experiment.model)
    return memory.predict(net, experiment.train, compute.precision).of_batch(-(-batch // experiment.train.accumulate))


def _as_recipe(experiment: Experiment, like: str | None, budget: str, searched: Found | None) -> dict[str, Any]:
    """What stands in the new file: only what differs from the defaults, and where it came from."""
    kept = experiment.plain(exclude_defaults=True, exclude={"name", "command", "hardware", "time", "purpose", "source"})
    asked = f"snug design --budget {budget}" + (f" --like {like}" if like else "")
    if searched is None:
        return {"purpose": f"the widest net like {like} within {budget}", "source": asked, **kept}
    return {
        "purpose": f"the best by rule of {searched.priced:,} nets like {like or 'snugnet/quickstart'} for {budget}",
        "source": asked + (" --search" if like else ""),
        **kept,
    }


def _print_plan(document: dict[str, Any], held_to: Budget) -> None:
    layers = Table(title=escape(document["recipe"]))
    for column in ("layer", "kind", "output", "parameters", "MACs"):
        layers.add_column(column, justify="left" if column in ("layer", "kind") else "right")
    for layer in document["layers"]:
        size = "×".join(map(str, layer["output"]))
        layers.add_row(escape(layer["name"]), layer["kind"], size, f"{layer['params']:,}", f"{layer['macs']:,}")
    out.print(layers)
    names = {
        "params": "parameters",
        "bytes_fp32": "file, fp32",
        "bytes_int8": "file, int8 (predicted)",
        "macs": "MACs an image",
        "peak_activation_bytes": "peak activation, batch 1",
        "ram_bytes": "RAM as C, int8 (predicted)",
    }
    total = Table(show_header=False, box=None)
    for _ in range(3):
        total.add_column(no_wrap=True)
    for key, name in names.items():
        unit = " B" if "bytes" in key else ""
        shown = "–" if document[key] is None else f"{document[key]:,}{unit}"
        total.add_row(name, shown, _share(document, key))
    total.add_row("size, tu24's formula", f"{document['size_mb']:.4f} MB", _share(document, "size_mb"))
    if "training_memory_bytes" in document:
        total.add_row("training memory (predicted)", f"{document['training_memory_bytes']:,} B", "")
    out.print(total)
    if "against" in document:
        changes = document["against"]["change"].items()
        shown = ", ".join(f"{name} {100 * value:+.1f} %" for name, value in changes)
        out.print(f"against {document['against']['recipe']}: {shown}", soft_wrap=True, markup=False)
    if "diagram" in document:
        out.print(f"Diagram: {document['diagram']}", soft_wrap=True, markup=False)
    if held_to.limits() and document["fits"]:
        out.print("[green]fits the budget[/]")


def _note_single_pixels(card: Card) -> None:
    """Large kernels on a map of one pixel are allowed, but rarely meant."""
    spec = card.model
    stages = {place.stage: spec.stages[place.stage].kernel for place in spec.places() if place.size_in == 1}
    for stage, kernel in stages.items():
        if kernel > 1:
            unused = f"{kernel**2 - 1} of {kernel**2}"
            show_warning(
                f"model.stages.{stage}: kernels of {kernel}x{kernel} read maps of 1x1, where {unused} weights never "
                "matter; leave out a stride or a pool, or give kernel = 1"
            )


def _share(document: dict[str, Any], key: str) -> str:
    """A bar of the budget used."""
    limit = document["budget"].get("bytes" if key == "bytes_fp32" else key)
    if not limit:
        return ""
    return f"{bar(document[key] / limit, 12)} of {limit if isinstance(limit, int) else round(limit, 6):,}"
