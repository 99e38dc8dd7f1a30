"""The tables of a comparison as CSV, for programs, and as LaTeX, for papers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snugnet import files
from snugnet.compare import Comparison
from snugnet.compare.groups import Group
from snugnet.units import show_bytes, show_count, show_flops

DASH = "–"
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # behind a line's end these would be its options
    "±": r"$\pm$", "†": r"$^\dagger$", "−": "$-$", "–": "--", "×": r"$\times$",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """`rows` hold plain values, None where one is not known."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def groups_table(comparison: Comparison) -> Table:
    reached = [f"{what}_to_{round(100 * target)}" for target in comparison.targets for what in ("epochs", "seconds")]
    plain = ("params", "bytes", "macs", "p50_ms", "disturbed", "training_flops")
    columns = ("group", "n", "mean", "std", "low", "high", *plain, *reached, "val_at_equal_flops", "pareto", "fits")
    means = comparison.equal_flops.means if comparison.equal_flops else {}
    choice = comparison.choice
    rows = []
    for group in comparison.groups:
        low, high = group.interval or (None, None)
        speed = [value for each in group.reached for value in (each.epochs, each.seconds)] or [None] * len(reached)
        costs = [getattr(group, name) for name in plain]
        fits = None if choice is None else group.name in choice.fitting
        on_front = group.name in comparison.pareto
        head = (group.name, group.n, group.mean, group.std, low, high)
        rows.append((*head, *costs, *speed, means.get(group.name), on_front, fits))
    return Table("groups", f"{comparison.split} accuracy", columns, tuple(rows))


def runs_table(comparison: Comparison) -> Table:
    fields = ("path", "group", "seed", "epochs", "weights", "accuracy")
    more = ("val", "params", "bytes", "macs", "p50_ms", "seconds", "training_flops", "hardware")
    rows = tuple(
        (*(getattr(run, name) for name in fields), *run.accuracy_interval, *(getattr(run, name) for name in more))
        for run in comparison.runs
    )
    return Table("runs", "Runs", (*fields, "low", "high", *more), rows)


def pairs_table(comparison: Comparison) -> Table:
    columns = (
        "a", "b", "difference", "identical", "method", "p_seeds", "p_seeds_holm", "more_seeds", "only_a_right",
        "only_b_right", "p_images", "p_images_holm", "verdict",
    )  # fmt: skip
    rows = []
    for test in comparison.tests:
        seeds, images = test.seeds, test.images
        of_seeds = (seeds.method, seeds.p, seeds.p_adjusted, seeds.more_seeds) if seeds else (None,) * 4
        of_images = (images.only_a_right, images.only_b_right, images.p, images.p_adjusted) if images else (None,) * 4
        rows.append((test.a, test.b, test.difference, test.identical, *of_seeds, *of_images, test.verdict))
    return Table("tests", "Tests", columns, tuple(rows))


def write_csv(comparison: Comparison, path: Path) -> list[Path]:
    """The groups in `path`; runs and tests beside it, as NAME-runs.csv and NAME-tests.csv. Raises StorageError."""
    tables = {path: groups_table(comparison), beside(path, "runs"): runs_table(comparison)}
    if comparison.tests:
        tables[beside(path, "tests")] = pairs_table(comparison)
    for place, table in tables.items():
        files.write_text(place, as_csv(table))
    return list(tables)


def beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}{path.suffix}")


def as_csv(table: Table) -> str:
    """None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return text.getvalue()


def write_latex(comparison: Comparison, path: Path) -> Path:
    """Raises StorageError."""
    files.write_text(path, as_latex(comparison))
    return path


def as_latex(comparison: Comparison) -> str:
    """Groups, how fast they learned, and tests: a booktabs tabular each, without a float around it."""
    parts = ["% needs \\usepackage{booktabs}", tabular(shown_groups(comparison))]
    if any(group.reached for group in comparison.groups):
        parts.append(tabular(shown_speed(comparison)))
    if comparison.tests:
        parts.append(tabular(shown_tests(comparison)))
    return "\n\n".join(parts) + "\n"


def shown_groups(comparison: Comparison) -> Table:
    """As a reader wants it: rounded, with units in the head."""
    columns = ["", "n", f"{comparison.split} accuracy, %", "parameters", "bytes", "MACs"]
    is_timed = any(group.p50_ms is not None for group in comparison.groups)
    rows = []
    for group in comparison.groups:
        sizes = (show_count(group.params), show_bytes(group.bytes), show_count(group.macs))
        row = [group.name, str(group.n), shown_accuracy(group), *sizes]
        rows.append((*row, *([shown_latency(group)] if is_timed else [])))
    return Table("groups", "", (*columns, *(["p50, ms"] if is_timed else [])), tuple(rows))


def shown_accuracy(group: Group) -> str:
    return f"{100 * group.mean:.2f}" + ("" if group.std is None else f" ± {100 * group.std:.2f}")


def shown_latency(group: Group) -> str:
    """† marks one that other work disturbed."""
    return shown(group.p50_ms, "{:.3f}") + (" †" if group.disturbed else "")


def reached_targets(comparison: Comparison) -> list[int]:
    """The places of the targets that some run reached."""
    each = range(len(comparison.targets))
    return [place for place in each if any(r.reached and r.reached[place].epochs for r in comparison.runs)]


def shown_speed(comparison: Comparison) -> Table:
    """Without the targets that no run reached."""
    places = reached_targets(comparison)
    columns = ["", *(f"epochs to {100 * comparison.targets[place]:g} %" for place in places)]
    columns += [f"s to {100 * comparison.targets[place]:g} %" for place in places]
    equal = comparison.equal_flops
    if equal:
        columns.append(f"val at {show_flops(equal.flops)}, %")
    rows = []
    for group in comparison.groups:
        if group.reached:
            speed = [shown(group.reached[place].epochs, "{:.1f}") for place in places]
            speed += [shown(group.reached[place].seconds, "{:.0f}") for place in places]
            at = equal.means.get(group.name) if equal else None
            rows.append((group.name, *speed, *([shown(None if at is None else 100 * at, "{:.2f}")] if equal else [])))
    return Table("speed", "", tuple(columns), tuple(rows))


def shown_tests(comparison: Comparison) -> Table:
    columns = ("a", "b", "b − a, points", "p over seeds", "p over images")
    rows = [
        (
            test.a,
            test.b,
            f"{100 * test.difference:+.2f}".replace("-", "−"),
            shown(test.seeds.p_adjusted if test.seeds else None, "{:.3f}"),
            shown(test.images.p_adjusted if test.images else None, "{:.3f}"),
        )
        for test in comparison.tests
    ]
    return Table("tests", "", columns, tuple(rows))


def shown(value: float | None, form: str) -> str:
    return DASH if value is None else form.format(value)


def tabular(table: Table) -> str:
    """Text to the left, numbers to the right."""
    first = 2 if table.name == "tests" else 1
    lines = [f"\\begin{{tabular}}{{{'l' * first}{'r' * (len(table.columns) - first)}}}", "\\toprule"]
    lines += [latex_row(table.columns), "\\midrule", *map(latex_row, table.rows), "\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines)


def latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def escaped(text: str) -> str:
    """A stranger's text as LaTeX prints it."""
    flat = re.sub(r"\s+", " ", text)
    return "".join(_SPECIAL.get(character, character) for character in flat)
