"""The report of a run directory: gathers what the page shows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from snugnet import artifact, budget, device, runs
from snugnet.artifact import Shipped
from snugnet.data import augment, grid, sources, splits
from snugnet.data.loader import TrainLoader
from snugnet.evaluate.explain import layer_named
from snugnet.models.resnet import ResNet
from snugnet.recipe import Experiment
from snugnet.report import diagram
from snugnet.report.explained import grad_cam
from snugnet.report.mistakes import Mistakes, confident_mistakes
from snugnet.report.page import save_plots, write_report

SAMPLES, COLUMNS = 32, 8


def report_run(path: Path, output: Path | None = None) -> Path:
    """Writes plots/ and the page of a finished run, report.html if nothing else is given; returns the page's path."""
    record = runs.read_finished(path)
    experiment = record.experiment
    shipped = artifact.read(path / "model.safetensors")
    samples, corruption = draw_samples(path / "plots" / "samples.png", experiment), path / "plots" / "corruption.png"
    save_plots(record, path / "plots")
    return write_report(
        record,
        path=output or path / "report.html",
        images=mistakes(record, experiment, shipped) if record.summary["test"] is not None else None,
        samples_png=samples.read_bytes(),
        corruption_png=corruption.read_bytes() if corruption.is_file() else None,
        layers=[asdict(layer) for layer in budget.price(shipped.card).layers],
        diagram=diagram.svg(shipped.card.model),
    )


def draw_samples(path: Path, experiment: Experiment) -> Path:
    """A picture of training images as the net sees them, before normalisation."""
    info = sources.describe(experiment.data)
    augment.try_out(experiment.train.augment, info.channels, info.image_size)
    data = splits.open_splits(experiment.data)
    loader = TrainLoader(
        data.train,
        data.normalization,
        classes=len(data.info.classes),
        batch_size=SAMPLES,
        augment=experiment.train.augment,
        seed=experiment.seed,
        copies=data.copies,
        device=torch.device("cpu"),
    )
    pixels, labels = loader.samples()
    grid.write_grid(path, pixels, [data.info.classes[label] for label in labels.tolist()], COLUMNS)
    return path


def mistakes(record: runs.RunRecord, experiment: Experiment, shipped: Shipped) -> Mistakes:
    """The most confident mistakes on test, the images, and where the net looked in them."""
    found = confident_mistakes(*record.predictions("test"))
    images = splits.open_test(experiment.data).pixels[[mistake.index for mistake in found]]
    if not found or not isinstance(shipped.model, ResNet):  # a net in integers has no gradients
        return Mistakes(images, found)
    layer, _ = layer_named(shipped.model, None)
    targets = torch.tensor([[mistake.predicted, mistake.true] for mistake in found])
    return Mistakes(images, found, grad_cam(shipped, images, targets, device.find_device("auto"), layer), layer)
