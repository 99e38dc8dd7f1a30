"""The net of a training: what it begins with, what its weights are loaded into, what ships, and who teaches it."""

from __future__ import annotations

import torch
from torch import nn

from snugnet import lineage
from snugnet.artifact import Shipped
from snugnet.compress.graph import folded, structure
from snugnet.compress.quantize import Quantized, quantized
from snugnet.compress.training import Rounded, blank
from snugnet.data.loader import TrainLoader, derived_seed
from snugnet.data.splits import Splits
from snugnet.device import Compute
from snugnet.models import resnet, whitening
from snugnet.parallel import Processes
from snugnet.recipe import Experiment
from snugnet.scoring import eval_loader, sample
from snugnet.train import distill
from snugnet.train.distill import Teacher, Teaching

WHITENING_IMAGES = 5_000


def blank_model(experiment: Experiment) -> nn.Module:
    """What the weights of a training are loaded into."""
    if experiment.quantize and experiment.quantize.train:
        return blank(structure(experiment.model), experiment.quantize)
    return resnet.build(experiment.model)


def initial_model(experiment: Experiment, data: Splits) -> nn.Module:
    """The net that a training begins with: its parent's weights, frozen filters as well, before any of its own; folded,
    where it learns in rounded numbers."""
    torch.manual_seed(derived_seed(experiment.seed, "init"))
    model = resnet.build(experiment.model)
    if experiment.parent:
        lineage.begin(model, experiment.parent, experiment, data.info.classes)
    elif experiment.model.whitens:
        whitening.whiten(model.get_submodule("stem.conv"), torch.cat(list(sample(data, WHITENING_IMAGES))))
    if experiment.quantize and experiment.quantize.train:
        graph = structure(experiment.model)
        weights = folded(graph, model.state_dict())
        return Rounded(
            quantized(graph, weights, sample(data, experiment.quantize.images), experiment.quantize), weights
        )
    return model


def as_shipped(model: nn.Module, experiment: Experiment, data: Splits) -> nn.Module | Quantized:
    """The trained net in the numbers that its file keeps."""
    if isinstance(model, Rounded):
        return model.quantized()
    if experiment.model.shipped != experiment.model:
        model = resnet.merged(model, experiment.model)
    config = experiment.quantize
    if config is None or config.weights == "float16":
        return model
    graph = structure(experiment.model.shipped)
    return quantized(graph, folded(graph, model.state_dict()), sample(data, config.images), config)


def taught_by(experiment: Experiment) -> list[Shipped]:
    """The teachers' nets. Raises ArtifactError where one is gone, or is another than when the run began."""
    return [lineage.read(teacher, lineage.AS_TEACHER) for teacher in experiment.teachers or ()]


def taught(
    experiment: Experiment, data: Splits, loader: TrainLoader, compute: Compute, processes: Processes
) -> Teaching:
    """What the teachers add to a training; nothing where there are none."""
    config = experiment.distill
    if config is None:
        return distill.UNTAUGHT
    classes, constants = data.info.classes, data.normalization
    teachers = [Teacher(each, classes, constants, compute) for each in taught_by(experiment)]
    if config.cache:
        plain = eval_loader(data.train, constants, compute.device)
        return distill.from_memory(config, teachers, loader, plain)
    return distill.on_batches(config, teachers, experiment.train.accumulate, processes.share)
