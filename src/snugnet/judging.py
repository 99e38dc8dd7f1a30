"""What is asked of a finished run: its scores on any split and data, and whether it keeps what its recipe expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snugnet import artifact, device, runs
from snugnet.artifact import Shipped
from snugnet.data import splits
from snugnet.data.config import DataConfig, Normalization
from snugnet.data.images import Images
from snugnet.data.mapped import Pixels
from snugnet.data.splits import Splits
from snugnet.device import Precision
from snugnet.errors import ArtifactError, DataError, RecipeError, UsageError
from snugnet.evaluate import calibration
from snugnet.evaluate.calibration import Known
from snugnet.evaluate.corrupt import CORRUPTIONS, FAMILIES, named
from snugnet.evaluate.metrics import accuracy, scores
from snugnet.evaluate.mistakes import confident_mistakes, confused_pairs
from snugnet.evaluate.robustness import Watch, robustness
from snugnet.evaluate.tta import TtaConfig
from snugnet.export import reading
from snugnet.problems import nearest
from snugnet.runs import RunRecord
from snugnet.scoring import Net

SAMPLE = 2_000  # of val, where every image costs several passes
PROBE = 50  # images that stored predictions are held against
MOST_MISTAKES = 10
NO_GAP: dict[str, Any] = {"train_accuracy": None, "train_images": 0, "gap": None}
TOLERANCE = 3.0  # spreads that one seed may lie below the expected mean
LEAST_SPREAD = 0.003  # where none was measured: about one standard error of 10,000 images


@dataclass(frozen=True)
class Asked:
    """What else is asked of a net: of how many images, and at what further cost."""

    count: int | None = None  # the first that many of a split, which is a random sample of it: splits lie by content
    gap: bool = False  # the accuracy on the training images as well
    corrupt: tuple[str, ...] = ()  # corruptions, families of them, or "all"
    watch: Watch = lambda judged: None
    precision: Precision = "fp32"  # that the net computes in; bf16 is quicker where a device is made for it


NOTHING_ELSE = Asked()


def evaluate(
    path: Path, split: str, data: str | None = None, tta: TtaConfig | None = None, asked: Asked = NOTHING_ELSE
) -> dict[str, Any]:
    """All that can be said of a run's shipped file, or of a shipped file, on a split; docs/evaluate.md has the fields.

    With test-time augmentation all measures are of the averaged views, and the accuracy without them is told.
    Raises ArtifactError, DataError, UsageError.
    """
    shipped, config, record = read(path)
    changed = runs.changed(path, record.config) if record else []
    if data is not None:
        config, record = config.model_copy(update={"name": data, "image_size": None, "memory": "auto"}), None
    found = splits.open_splits(config)
    whole, classes = chosen(found, config, split), found.info.classes
    check_compatible(shipped, whole, classes, config.name)
    names = corruptions(asked.corrupt, found.info.channels)
    images = first(whole, asked.count, f"{config.name}: its {split} split")
    net = Net.of(shipped, device.find_device("auto"), asked.precision)
    seen = net.look(images, tta)
    if split == "val" and asked.count is None:
        known: Known = seen.averaged, images.labels
    else:
        known = of_val(net, found.val, tta, record)
    document = describe(seen.averaged, images, classes, known)
    if split == "val" and document["temperature"]:
        document["temperature_note"] = calibration.FLATTERED
    if known is None and config.train_on == "all":
        document["temperature_note"] = f"{calibration.NOT_FITTED}{splits.TRAINS_ON_VAL}"
    plain = accuracy(seen.plain, images.labels)
    about: dict[str, Any] = {"split": split, "data": config.name, "images_in_split": len(whole), "tta": None}
    about |= {"precision": asked.precision, "changed": changed}
    if tta:
        about["tta"] = tta.plain() | {"passes": tta.passes, "accuracy_without": plain}
    about |= train_gap(net, first(found.train, asked.count), plain) if asked.gap else NO_GAP
    about["corruption"] = robust(net, images, plain, names, asked.watch) if names else None
    return document | about


def score_module(
    module: nn.Module,
    images: Pixels,
    labels: Tensor,
    classes: Sequence[str] | None = None,
    *,
    normalization: Normalization | None = None,
    tta: TtaConfig | None = None,
    val: tuple[Pixels, Tensor] | None = None,
) -> dict[str, Any]:
    """The measures of `evaluate` for any module from normalised batches (N, C, H, W) to logits (N, classes).

    `images` are float and normalised already, or uint8 together with `normalization`; labels int64 (N,). `val`, images
    of the same kind and labels, is what a temperature is fitted on. Without `classes` they are called by their numbers.
    The module computes in fp32 where its parameters lie, and is left in the mode it was in. Raises UsageError,
    DataError; Diverged for logits that are not finite.
    """
    for shown in (images, *(val or ())[:1]):
        is_float = isinstance(shown, Tensor) and shown.is_floating_point()
        if is_float == (normalization is not None):
            kind = "float, which are normalised already, come without" if normalization else "uint8 come with"
            raise UsageError(f"score_module: images of {shown.dtype}: {kind} a normalisation")
    where = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    net, modes = Net(module, normalization, where), [(part, part.training) for part in module.modules()]
    try:
        held = Images(images, labels.cpu(), None)
        seen = net.look(held, tta)
        known = of_val(net, Images(val[0], val[1].cpu(), None), tta) if val else None
    finally:
        for part, mode in modes:
            part.training = mode
    if seen.averaged.ndim != 2:
        raise DataError(f"the net must give logits (N, classes); got {tuple(seen.averaged.shape)}")
    numbers = map(str, range(seen.averaged.shape[1]))
    return describe(seen.averaged, held, classes or tuple(numbers), known)


def read(path: Path) -> tuple[Shipped, DataConfig, RunRecord | None]:
    """The net of a run or a file, the data that it goes with, and the run. Raises ArtifactError, MissingExtra."""
    if path.is_dir() or not (path.suffix or path.exists()):  # what bears no suffix was meant as a run
        record = runs.read_finished(path)
        return artifact.read(path / "model.safetensors"), record.experiment.data, record
    return reading.read(path), DataConfig(), None


def opened(config: DataConfig, split: str) -> tuple[Images, tuple[str, ...]]:
    """The images of a split, and the class names of their labels."""
    found = splits.open_splits(config)
    return chosen(found, config, split), found.info.classes


def chosen(found: Splits, config: DataConfig, split: str) -> Images:
    """Raises DataError where the split is empty."""
    images = splits.open_test(config) if split == "test" else found.train if split == "train" else found.val
    if not len(images):
        trains = split == "val" and config.train_on == "all"
        why = splits.TRAINS_ON_VAL if trains else f"its {split} split is empty"
        raise DataError(f"{config.name}: {why}; choose another with --split")
    return images


def first(images: Images, count: int | None, what: str | None = None) -> Images:
    """The first `count`; all where that is None, and where there are fewer, unless they bear a name to refuse it by."""
    if count is None:
        return images
    if what and count > len(images):
        raise UsageError(f"--images {count:,}: {what} has {len(images):,} images; give at most that")
    return images.select(torch.arange(min(count, len(images))))


def corruptions(words: Sequence[str], channels: int) -> tuple[str, ...]:
    """The names that words stand for. Raises UsageError for an unknown one, or one that these images cannot bear."""
    known = ("all", *FAMILIES, *CORRUPTIONS)
    for word in words:
        if word not in known:
            raise UsageError(
                f"--corrupt {word}: must be one of {', '.join(dict.fromkeys(known))}{nearest(word, known)}"
            )
        if word in CORRUPTIONS and CORRUPTIONS[word].needs_colour and channels != 3:
            raise UsageError(f"--corrupt {word}: needs images with 3 channels; these have {channels}; leave it out")
    return named(words, channels)


def of_val(net: Net, val: Images, tta: TtaConfig | None, record: RunRecord | None = None) -> Known:
    """What the net says of val, to fit a temperature on; None where it is empty.

    At one look, what the run has stored is taken where it is known to be of this file. Several views an image cost
    much, so then a sample must do: it settles a temperature to about two percent.
    """
    if not len(val):
        return None
    if tta is None and record and (stored := stored_logits(net, val, record, "val")) is not None:
        return stored, val.labels
    val = first(val, SAMPLE) if tta else val
    return net.look(val, tta).averaged, val.labels


def stored_logits(net: Net, images: Images, record: RunRecord, split: str) -> Tensor | None:
    """The logits that a run keeps of a split, if some of them are what the file says today."""
    try:
        logits, labels = record.predictions(split)
    except ArtifactError:
        return None
    probe = first(images, PROBE)
    if not torch.equal(labels, images.labels) or len(logits) != len(labels):
        return None
    seen = net.look(probe).plain
    same = logits[: len(probe)].shape == seen.shape and torch.allclose(logits[: len(probe)], seen, 1e-4, 1e-4)
    return logits if same else None


def describe(logits: Tensor, images: Images, classes: Sequence[str], known: Known) -> dict[str, Any]:
    """All measures of logits; `known` are those of val, with labels."""
    labels = images.labels
    measured = scores(logits, labels, classes).plain()
    mistakes = [
        {
            "index": each.index,
            "name": images.names[each.index] if images.names else None,
            "true": classes[each.true],
            "predicted": classes[each.predicted],
            "probability": each.probability,
        }
        for each in confident_mistakes(logits, labels, MOST_MISTAKES)
    ]
    found = {"calibration": calibration.describe(logits, labels).plain(), "mistakes": mistakes}
    return measured | {"confused": confused_pairs(measured)} | found | calibration.scaled(logits, labels, known)


def train_gap(net: Net, train: Images, plain: float) -> dict[str, Any]:
    """The accuracy on training images as they are, not augmented, and how far it lies above that on the split."""
    seen = accuracy(net.look(train).plain, train.labels)
    return {"train_accuracy": seen, "train_images": len(train), "gap": seen - plain}


def robust(net: Net, images: Images, clean: float, names: Sequence[str], watch: Watch) -> dict[str, Any]:
    """At one look each, whatever views the other measures are of."""
    return robustness(
        net.module, lambda change: net.loader(images, change), net.compute, images.labels,
        clean=clean, names=names, watch=watch,
    ).plain()  # fmt: skip


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
