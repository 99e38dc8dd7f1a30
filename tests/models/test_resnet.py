import itertools
import re
from typing import get_args

import pytest
import torch

from snugnet import recipe
from snugnet.budget import count_params
from snugnet.models.resnet import ResNet, build, build_meta
from snugnet.models.spec import BLOCKS, ActivationName, ModelSpec
from specs import spec


def assert_every_weight_learns(model, spec):
    torch.manual_seed(0)
    model.train()
    images = torch.randn(4, spec.in_channels, spec.image_size, spec.image_size)
    torch.nn.functional.cross_entropy(model(images), torch.arange(4) % spec.classes).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            cancelled = spec.conv_bias and re.search(r"conv\d?\.bias$", name)  # the norm behind takes it away
            assert parameter.grad.abs().sum() > 0 or cancelled, name
        else:
            whitens = name == "stem.conv.weight" and spec.stem.whiten
            assert whitens or (not spec.norm.learn_scale and re.search(r"norm\d?\.weight$", name)), name
            assert parameter.grad is None


@pytest.mark.parametrize(
    ("block", "kind", "entry"),
    list(itertools.product(BLOCKS[:-1], ("projection", "none"), (None, {}, {"pool": {}}))),
)
def test_every_weight_gets_a_gradient(block, kind, entry):
    stage = {"block": block, "blocks": 2, "channels": 8, "shortcut": {"kind": kind}, "dropout": 0.1}
    found = spec(stage, stage | ({} if entry is None else {"entry": entry}), image_size=8)
    assert_every_weight_learns(build(found), found)


@pytest.mark.parametrize("activation", get_args(ActivationName))
def test_every_activation_passes_gradients(activation):
    found = spec(activation=activation, image_size=8, head={"hidden": [16], "dropout": 0.1})
    assert_every_weight_learns(build(found), found)


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_every_weight_of_every_recipe_gets_a_gradient(name):
    """As it is where it is small, else at a tenth of its width."""
    model = recipe.load(name).experiment.model
    found = model if count_params(build_meta(model)) < 200_000 else model.replaced(width=model.width / 10)
    assert_every_weight_learns(build(found), found)


def test_the_table_of_avvari24():
    """Stem, stages, strides, shortcuts, head: the modules themselves, not their number alone."""
    model = ResNet(spec(["basic", 2, 4], ["basic", 1, 4], ["bottleneck", 1, 8]))
    first, second = model.stages[0]
    assert isinstance(first.shortcut, torch.nn.Identity)
    assert isinstance(second.shortcut, torch.nn.Identity)
    reduced = model.stages[1][0]  # stride 2: a projection although the width stays
    assert (reduced.body.conv1.stride, reduced.body.conv2.stride, reduced.shortcut.conv.stride) == (
        (2, 2),
        (1, 1),
        (2, 2),
    )
    inner = model.stages[2][0].body
    assert [c.kernel_size[0] for c in (inner.conv1, inner.conv2, inner.conv3)] == [1, 3, 1]
    assert (inner.conv1.out_channels, inner.conv2.stride, inner.conv3.out_channels) == (2, (2, 2), 8)
    assert [name for name, _ in inner.named_children()] == (
        ["conv1", "norm1", "activation1", "conv2", "norm2", "activation2", "conv3", "norm3"]
    )
    assert not any(m.bias is not None for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    assert model.head.classifier.bias is not None


def test_the_residual_is_the_sum_under_the_activation():
    model = ResNet(spec()).eval()
    block = model.stages[0][0]
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), torch.relu(block.body(x) + x))


def test_dropout_stands_inside_blocks_and_before_the_classifier():
    model = ResNet(spec(["bottleneck", 1, 8, 0.3], head={"dropout": 0.5, "hidden": [3]}))
    body = [type(layer).__name__ for layer in model.stages[0][0].body]
    assert body == ["Conv2d", "BatchNorm2d", "ReLU", "Dropout"] * 2 + ["Conv2d", "BatchNorm2d"]
    head = [type(layer).__name__ for layer in model.head]
    assert head == ["AdaptiveAvgPool2d", "Flatten", "Linear", "ReLU", "Dropout", "Linear"]


@pytest.mark.parametrize(
    ("first", "order"),
    [(True, ["conv", "pool", "norm", "activation"]), (False, ["conv", "norm", "activation", "pool"])],
)
def test_the_place_of_the_stem_s_pool(first, order):
    model = ResNet(spec(stem={"pool": {}, "pool_first": first}))
    assert [name for name, _ in model.stem.named_children()] == order


def test_the_same_seed_gives_the_same_net_and_fan_out_its_variance():
    found = spec(["basic", 1, 64], init="kaiming_fan_out")
    torch.manual_seed(3)
    first = build(found).state_dict()
    torch.manual_seed(3)
    second = build(found).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    weight = first["stages.0.0.body.conv1.weight"]
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_counting_takes_no_memory():
    huge: ModelSpec = spec(["basic", 2, 60_000])
    assert all(parameter.is_meta for parameter in build_meta(huge).parameters())
