"""What is asked of a finished run: its scores on any split and data, and whether it keeps what its recipe expects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snugnet import artifact, device, pipeline, runs
from snugnet.artifact import Shipped
from snugnet.data import splits
from snugnet.data.config import DataConfig
from snugnet.data.images import Images
from snugnet.errors import ArtifactError, DataError, RecipeError
from snugnet.evaluate.metrics import scores
from snugnet.evaluate.tta import TtaConfig

TOLERANCE = 3.0  # spreads that one seed may lie below the expected mean
LEAST_SPREAD = 0.003  # where none was measured: about one standard error of 10,000 images


def evaluate(path: Path, split: str, data: str | None = None, tta: TtaConfig | None = None) -> dict[str, Any]:
    """Scores of a run's shipped file, or of a shipped file, on a split. Raises ArtifactError, DataError.

    With test-time augmentation also what it costs, and the accuracy without it.
    """
    if path.is_dir():
        config = runs.read_finished(path).experiment.data
        shipped = artifact.read(path / "model.safetensors")
    else:
        shipped, config = artifact.read(path), DataConfig()
    if data is not None:
        config = config.model_copy(update={"name": data, "image_size": None, "memory": "auto"})
    images, classes = opened(config, split)
    check_compatible(shipped, images, classes, config.name)
    where = device.find_device("auto")
    plain = scores(pipeline.logits_of(shipped, images, where), images.labels, classes)
    about: dict[str, Any] = {"split": split, "data": config.name, "tta": None}
    if tta is None:
        return plain.plain() | about
    logits = pipeline.logits_of(shipped, images, where, tta)
    about["tta"] = tta.plain() | {"passes": tta.passes, "accuracy_without": plain.accuracy}
    return scores(logits, images.labels, classes).plain() | about


def opened(config: DataConfig, split: str) -> tuple[Images, tuple[str, ...]]:
    """The images of a split, and the class names of their labels."""
    found = splits.open_splits(config)
    images = splits.open_test(config) if split == "test" else found.train if split == "train" else found.val
    if not len(images):
        raise DataError(f"{config.name}: its {split} split is empty; choose another with --split")
    return images, found.info.classes


def check_compatible(shipped: Shipped, images: Images, classes: tuple[str, ...], name: str) -> None:
    """Raises ArtifactError where the net was made for other images or classes."""
    spec = shipped.card.model
    expected = (spec.in_channels, spec.image_size, spec.image_size)
    if tuple(images.pixels.shape[1:]) != expected:
        raise ArtifactError(f"{shipped.path}: takes images {expected}, but {name} has {tuple(images.pixels.shape[1:])}")
    if classes != shipped.card.classes:
        raise ArtifactError(
            f"{shipped.path}: knows the classes {', '.join(shipped.card.classes[:5])}..., "
            f"but {name} has {', '.join(classes[:5])}...; labels would not mean the same"
        )


def verify(path: Path) -> list[dict[str, Any]]:
    """Each expectation of the run's recipe: name, expected, measured, ok. Raises RecipeError where there is none."""
    record = runs.read_finished(path)
    expect = record.experiment.expect
    if expect is None:
        raise RecipeError(f"{path}: its recipe has no [expect] table; there is nothing to verify")
    checks = [
        {"name": name, "expected": expected, "measured": record.summary[name], "ok": record.summary[name] == expected}
        for name in ("params", "bytes", "epochs")
        if (expected := getattr(expect, name)) is not None
    ]
    if expect.accuracy is not None:
        least = expect.accuracy - TOLERANCE * max(expect.accuracy_std or 0.0, LEAST_SPREAD)
        seen = record.summary["test"]
        enough = seen is not None and seen >= least
        checks.append({"name": "test accuracy", "expected": f"at least {least:.4f}", "measured": seen, "ok": enough})
    return checks
