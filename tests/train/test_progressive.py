"""Progressive resolution: which size when, what resizing keeps, and nets that cannot follow."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from small_runs import tiny
from snugnet import pipeline, recipe
from snugnet.data import splits
from snugnet.device import Compute
from snugnet.errors import RecipeError
from snugnet.models import resnet
from snugnet.train import loop, progressive
from snugnet.train.config import TrainConfig
from snugnet.train.progressive import SizeConfig, resized

STEPS = (SizeConfig(until=0.25, size=8), SizeConfig(until=0.5, size=12))


def test_each_step_has_its_size():
    sized = progressive.build(STEPS, 8)
    images = torch.zeros(2, 3, 16, 16)
    assert [sized(images, step).shape[-1] for step in range(8)] == [8, 8, 12, 12, 16, 16, 16, 16]


def test_without_sizes_images_are_left_alone():
    images = torch.zeros(2, 3, 16, 16)
    assert progressive.build((), 8)(images, 0) is images


def test_resizing_keeps_flat_images_and_agrees_with_pillow():
    from PIL import Image

    assert torch.allclose(resized(torch.full((1, 3, 32, 32), 0.7), 24), torch.full((1, 3, 24, 24), 0.7))
    image = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    theirs = Image.fromarray(image.numpy()).resize((24, 24), Image.Resampling.BILINEAR)
    ours = resized(image[None, None], 24)[0, 0]
    assert (ours - torch.from_numpy(np.array(theirs))).abs().max() < 1e-5


def test_shares_rise():
    with pytest.raises(ValidationError, match=r"'until' must rise; got \[0.5, 0.25\]"):
        TrainConfig(epochs=1, progressive=tuple(reversed(STEPS)))


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (
            ["train.progressive=[{until=0.5,size=40}]"],
            r"^train\.progressive\.0\.size: must be at most the images' 32; got 40$",
        ),
        (
            ["train.progressive=[{until=0.2,size=24},{until=0.5,size=16}]", "model.head.kernel=4"],
            r"^train\.progressive\.0\.size: the net cannot read images of 24x24; choose a larger size",
        ),
    ],
)
def test_a_net_that_cannot_follow(sets, words):
    with pytest.raises(RecipeError, match=words):
        pipeline.planned_card(recipe.load("durga25/narrow-resnet18", sets).experiment)


def test_the_net_sees_each_size_in_training_and_whole_images_on_val():
    experiment = tiny("train.progressive=[{until=0.5,size=4}]").experiment
    experiment = experiment.model_copy(update={"model": pipeline.planned_card(experiment).model})
    train, val = pipeline.loaders(experiment, splits.open_splits(experiment.data), torch.device("cpu"))
    model, seen = resnet.build(experiment.model), []
    model.register_forward_pre_hook(lambda module, inputs: seen.append((module.training, inputs[0].shape[-1])))
    list(loop.fit(model, train, val, experiment.train, Compute(torch.device("cpu"), "fp32")))
    assert [size for training, size in seen if training] == [4, 4, 4, 8, 8, 8]
    assert {size for training, size in seen if not training} == {8}
