"""The model card: Markdown behind YAML front matter as the Hugging Face Hub reads it, from a finished run alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snugnet import artifact, runs
from snugnet.artifact import Card
from snugnet.compare.records import bench_of
from snugnet.errors import ArtifactError
from snugnet.evaluate.mistakes import confused_pairs
from snugnet.files import write_text
from snugnet.report import architecture, licences
from snugnet.report.own_paths import shortened
from snugnet.report.pages import render_markdown, words
from snugnet.runs import RunRecord
from snugnet.units import show_percent

NAME = "README.md"  # in a run, as in a repository
MOST_CLASSES, MOST_PAIRS, MOST_WORST = 20, 5, 3


def write_card(path: Path, output: Path | None = None, licence: str = licences.OWN) -> Path:
    """The card of a finished run, RUN/README.md if nothing else is given. Raises ArtifactError, UsageError."""
    output = output or path / NAME
    write_text(output, card_text(path, licence))
    return output


def card_text(path: Path, licence: str = licences.OWN, repository: str | None = None) -> str:
    """`licence` is that of the weights; `repository` is where they are to be had."""
    licences.check_licence(licence)
    record, experiment = runs.read_finished(path), runs.read(path).experiment
    shipped = artifact.read(path / "model.safetensors")
    summary = record.summary
    if shipped.size_bytes != summary["bytes"]:
        raise ArtifactError(
            f"{shipped.path}: must be the file that summary.json judges, of {summary['bytes']:,} B, but has "
            f"{shipped.size_bytes:,} B; put back the file that belongs to the run, or train again"
        )
    scores = {split: summary["scores"][split] for split in ("test", "val") if split in summary["scores"]}
    values = {
        "name": summary["recipe"] or path.name,
        "license": licence,
        "repository": repository,
        "run": summary,
        "environment": record.environment,
        "sha256": file_sha256(shipped.path),
        "spec": shipped.card.model,
        "normalization": shipped.card.normalization,
        "classes": shipped.card.classes,
        "most_classes": MOST_CLASSES,
        "format": format_of(shipped.card),
        "architecture": architecture.words(shipped.card.model).removeprefix("Architecture. "),
        "foreign_code": [
            name for name in experiment.foreign_code if name in {s.block for s in experiment.model.stages}
        ],
        "data": licences.data_of(experiment.data.name),
        "split": split_words(experiment.data.val_fraction, summary),
        "images_an_epoch": record.metrics[-1].get("images") if record.metrics else None,
        "weights": weight_words(summary),
        "chosen_on_val": summary["weights"] == "best",
        "scores": scores,
        "test": scores.get("test"),
        **weaknesses(scores),
        "bench": timing_of(record),
    }
    return shortened(render_markdown("card.md.j2", values))[0]


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def format_of(card: Card) -> dict[str, str]:
    """How the file keeps its numbers."""
    kept = card.quantization
    if kept is None:
        return {"kind": "float32", "words": "float32"}
    if kept.weights == "float16":
        return {"kind": "float16", "words": "float16 in the file, float32 in computing"}
    groups = f" in groups of {kept.group}" if kept.group else ""
    maps = "int8 activations, computed in integers" if kept.is_integer else "activations in floating point"
    return {"kind": kept.weights, "words": f"{kept.weights} weights{groups}, {maps}"}


def split_words(val_fraction: float, summary: Mapping[str, Any]) -> str:
    if summary["trained_on"] == "all":
        return "trained on train and val together; test apart"
    if "val" not in summary["scores"]:
        return "trained on train; no val"
    own = f"val is the data's own, or else {show_percent(val_fraction, 0)} of each class, by a hash of the pixels"
    return f"trained on train; {own}; test apart"


def weight_words(summary: Mapping[str, Any]) -> str:
    if not summary["epochs"]:
        return "those that it began with, as they ship"
    which = {"last": "as trained", "ema": "a moving average of those trained", "best": "the best on val"}
    return f"{which.get(summary['weights'], summary['weights'])}, epoch {summary['epoch']} of {summary['epochs']}"


def weaknesses(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The worst classes and the most confused pairs, on test where there is one."""
    shown = next(iter(scores), None)
    if shown is None:
        return {"shown": None, "worst": "", "pairs": []}
    seen = [each for each in scores[shown]["per_class"] if each["support"]]
    worst = sorted(seen, key=lambda each: each["accuracy"])[:MOST_WORST]
    told = (f"{words(each['class'])} ({show_percent(each['accuracy'])} of {each['support']:,})" for each in worst)
    return {"shown": shown, "worst": ", ".join(told), "pairs": confused_pairs(scores[shown])[:MOST_PAIRS]}


def timing_of(record: RunRecord) -> dict[str, Any]:
    """What `snug bench` left; empty where there is nothing, or where it is not of this file."""
    bench = bench_of(record)
    same = bench.get("bytes", record.summary["bytes"]) == record.summary["bytes"]
    return bench | {"latency": bench.get("latency", "")} if bench and same else {}
