"""One self-contained HTML page about a run: nothing is fetched from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from snugnet import runs
from snugnet.budget import Budget
from snugnet.compare.groups import protocol
from snugnet.compare.records import Record, bench_of, check_finished
from snugnet.data import splits
from snugnet.evaluate import calibration, words
from snugnet.evaluate.mistakes import confused_pairs
from snugnet.files import write_text
from snugnet.report import plots
from snugnet.report.gallery import captioned, picture
from snugnet.report.mistakes import Mistakes
from snugnet.report.pages import render
from snugnet.report.style import Plot

SHOWN_ABOVE = ("command", "hardware")  # of the environment


def write_report(
    record: Record,
    *,
    path: Path,
    images: Mistakes | None = None,
    samples_png: bytes | None = None,
    corruption_png: bytes | None = None,
    layers: Sequence[Mapping[str, Any]] = (),
    diagram: str | None = None,
) -> Path:
    """The page of a finished run. `layers` are dicts of name, kind, output, params, macs; `diagram` is an SVG element.

    Raises ArtifactError for an unfinished run or a damaged timing, StorageError.
    """
    check_finished(record)
    split = scored_split(record)
    scores = record.summary["scores"][split] if split else None
    sureness = calibrated(record, split, scores) if split and scores else None
    drawn = [*run_plots(record), *([plots.cost_bars(layers)] if layers else [])]
    values = {
        "run": record.summary,
        "place": record.path.name,
        "data": record.config.get("data", {}).get("name", ""),
        "changed": runs.changed(record.path, record.config),
        "bench": bench_of(record),
        "timed": protocol(record),
        "is_in_mb": "size_mb" in record.summary["budget"] and "size_mb" in record.summary,
        "split": split,
        "scores": scores,
        "calibration": sureness,
        "plots": {plot.name: Markup(plot.svg()) for plot in drawn},
        "most_numbers": plots.MOST_NUMBERS,
        "pairs": confused_pairs(scores) if scores else [],
        "mistakes": list(captioned(images, record.summary["classes"])) if images else [],
        "samples": picture(samples_png) if samples_png else None,
        "corruption": picture(corruption_png) if corruption_png else None,
        "maps_of": images.maps_of if images else None,
        "diagram": Markup(diagram) if diagram else None,
        "layers": layers,
        "most": {name: max((layer[name] for layer in layers), default=0) or 1 for name in ("params", "macs")},
        "environment": told(record.environment),
        "config": json.dumps(record.config, indent=2, ensure_ascii=False),
    }
    return write_page("run.html.j2", values, path)


def calibrated(record: Record, split: str, scores: Mapping[str, Any]) -> list[str]:
    """Whether the net knows how sure it may be, and how to mend it, a sentence each."""
    logits, labels = record.predictions(split)
    known = record.predictions("val") if record.summary["val"] is not None else None
    found = calibration.describe(logits, labels).plain()
    facts = dict(scores) | calibration.scaled(logits, labels, known)
    if split == "val" and facts["temperature"]:
        facts["temperature_note"] = calibration.FLATTERED
    if known is None and record.summary["trained_on"] == "all":
        facts["temperature_note"] = f"{calibration.NOT_FITTED}{splits.TRAINS_ON_VAL}"
    lines = [words.verdict(found), words.how_sure(found, scores["ece"], scores["accuracy"]), *words.remedy(facts)]
    return [line[0].upper() + line[1:].replace("`", "") + "." for line in lines]


def scored_split(record: Record) -> str | None:
    """Test where there is one, else val."""
    return next((split for split in ("test", "val") if record.summary[split] is not None), None)


def run_plots(record: Record) -> Iterator[Plot]:
    """All pictures that the run has the numbers for."""
    summary, metrics = record.summary, record.metrics
    limits = Budget.parse(summary["budget"]).limits()
    if measured := {name: limit for name, limit in limits.items() if name in summary}:  # older runs keep fewer
        yield plots.budget_bars(summary, measured)
    if len(metrics) > 1:  # of one epoch there is no curve
        yield plots.loss_curves(metrics)
        yield plots.lr_curve(metrics)
        if any(line["val_accuracy"] is not None for line in metrics):
            yield plots.accuracy_curve(metrics)
    if split := scored_split(record):
        scores = summary["scores"][split]
        yield plots.confusion_matrix(scores["confusion"], summary["classes"])
        yield plots.class_accuracy(scores["per_class"])
        yield plots.calibration_plot(*record.predictions(split), scores["ece"])


def save_plots(record: Record, folder: Path) -> list[Path]:
    """The pictures of the page as PNG files."""
    return [plot.save(folder) for plot in run_plots(record)]


def told(environment: Mapping[str, Any]) -> dict[str, str]:
    """The environment without what is empty, or stands on the page already."""
    empty: tuple[Any, ...] = ({}, [], "", None)
    return {
        name: plain_text(value) for name, value in environment.items() if name not in SHOWN_ABOVE and value not in empty
    }


def plain_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def write_page(template: str, values: Mapping[str, Any], path: Path) -> Path:
    write_text(path, render(template, values))
    return path
