"""Maps against captum's, against what can be worked out by hand, and on every body of the recipe language."""

from __future__ import annotations

from fnmatch import fnmatch
from functools import partial

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam, Occlusion
from torch import nn

from snugnet import recipe
from snugnet.errors import UsageError
from snugnet.evaluate import explain
from snugnet.models.resnet import build
from specs import spec

BODIES = [
    spec(["basic", 1, 6], ["basic", 1, 8], image_size=16),
    spec(["bottleneck", 2, 8], skips="dense", image_size=16),
    spec(
        {"block": "fire", "blocks": 2, "channels": 8, "se": {}}, head={"pool": "flatten", "hidden": [7]}, image_size=8
    ),
    spec(["preact", 2, 6], stem="none", activation="gelu", image_size=8),
    spec({"block": "depthwise", "blocks": 1, "channels": 6, "pool": {}}, head={"pool": "max"}, image_size=8),
    spec({"block": "single", "blocks": 1, "channels": 4, "entry": {"pool": {}}}, image_size=8),
]

SOME = [
    "aswani22/row1-*",
    "avvari24/preact*",
    "avvari24/res22*",
    "baseline/*",
    "patil25/*small",
    "snugnet/*",
    "tu24/*[a1-6]",
]


def net(model_spec, seed=0):
    """A net with running statistics that are not those of a new one."""
    torch.manual_seed(seed)
    model = build(model_spec)
    with torch.no_grad():
        model(torch.randn(64, model_spec.in_channels, model_spec.image_size, model_spec.image_size))
    return model.eval().requires_grad_(False)


def inputs(model_spec, count=3):
    images = torch.randn(count, model_spec.in_channels, model_spec.image_size, model_spec.image_size)
    return images, torch.tensor([[k, (k + 3) % 10] for k in range(count)])


@pytest.mark.parametrize("model_spec", BODIES, ids=lambda each: each.stages[0].block)
def test_grad_cam_is_captum_s(model_spec):
    model, (images, targets) = net(model_spec), inputs(model_spec)
    for layer in explain.map_layers(model).values():
        got = explain.grad_cam(model, images, targets, layer)
        for k in range(2):
            images.requires_grad_()
            theirs = LayerGradCam(model, layer).attribute(images, targets[:, k], relu_attributions=True)
            theirs = LayerAttribution.interpolate(theirs, tuple(images.shape[-2:]), "bilinear")
            torch.testing.assert_close(got[:, k], theirs[:, 0].detach(), atol=1e-6, rtol=1e-4)
            images = images.detach()
    assert got.shape == (3, 2, model_spec.image_size, model_spec.image_size)


@pytest.mark.parametrize(("patch", "stride"), [(4, 2), (4, 4), (2, 1), (8, 8)])
def test_occlusion_is_captum_s(patch, stride):
    model, (images, targets) = net(BODIES[2]), inputs(BODIES[2])
    got = explain.occlusion(model, images, targets, patch=patch, stride=stride, batch_size=7)
    chances = nn.Sequential(model, nn.Softmax(1))
    for k in range(2):
        theirs = Occlusion(chances).attribute(images, (3, patch, patch), (3, stride, stride), target=targets[:, k])
        torch.testing.assert_close(got[:, k], theirs.mean(1).float(), atol=1e-6, rtol=1e-4)


def test_batches_do_not_change_a_map():
    model, (images, targets) = net(BODIES[0]), inputs(BODIES[0])
    options = {"patch": 4, "stride": 3}
    alone = explain.occlusion(model, images, targets, batch_size=1, **options)
    torch.testing.assert_close(alone, explain.occlusion(model, images, targets, batch_size=500, **options))


def test_patches_reach_the_border():
    assert [left for top, left in explain.patches(8, 3, 2) if top == 0] == [0, 2, 4, 5]
    assert explain.patches(8, 8, 8) == [(0, 0)]
    assert len(explain.patches(32, 8, 4)) == 49


class Corner(nn.Module):
    """Class 0 is the brightness of the upper left quarter, class 1 that of the rest."""

    def __init__(self):
        super().__init__()
        self.map = nn.AvgPool2d(2)

    def forward(self, x):
        corner = self.map(x)[:, 0]
        return torch.stack([corner[:, :2, :2].sum((1, 2)), corner.sum((1, 2)) - corner[:, :2, :2].sum((1, 2))], 1)


def test_what_is_hidden_is_what_the_class_was_seen_in():
    lost = explain.occlusion(Corner(), torch.ones(1, 1, 8, 8), torch.tensor([[0, 1]]), patch=4, stride=4, batch_size=9)
    corner, rest = lost[0, 0, :4, :4], lost[0, 0, 4:]
    assert (corner > 0).all()
    assert (rest < 0).all()
    torch.testing.assert_close(lost[0, 1], -lost[0, 0])  # two classes share one probability


@pytest.mark.parametrize("name", [name for name in recipe.builtin_names() if any(map(partial(fnmatch, name), SOME))])
def test_every_recipe_can_be_explained(name):
    model_spec = recipe.load(name).experiment.model
    model = net(model_spec.replaced(width=0.05 * model_spec.width))
    images, targets = inputs(model_spec, 1)
    layer_name, layer = explain.layer_named(model, None)
    assert layer_name == list(explain.map_layers(model))[-1]
    maps = explain.grad_cam(model, images, targets, layer)
    assert maps.shape == (1, 2, *images.shape[-2:])
    assert (maps >= 0).all()
    filters = explain.first_filters(model)
    assert filters.shape[1] in (1, model_spec.in_channels)  # a depthwise body has filters of one channel
    assert filters.amin() == 0 or filters.amax() == 255


def test_the_default_layer_feeds_the_head_and_an_unknown_one_is_named():
    model = net(BODIES[4])
    assert list(explain.map_layers(model)) == ["stem", "stages.0.0", "stages.0.1"]
    assert explain.layer_named(model, None)[0] == "stages.0.1"
    words = (
        r"^--layer stages\.0\.7: runs/a has no such map, did you mean 'stages\.0\.\d'\?; "
        r"give one of stem, stages\.0\.0, stages\.0\.1$"
    )
    with pytest.raises(UsageError, match=words):
        explain.layer_named(model, "stages.0.7", "runs/a")
    assert "stem" not in explain.map_layers(net(BODIES[3]))


def test_explaining_leaves_the_net_as_it_was():
    model, (images, targets) = net(BODIES[0]), inputs(BODIES[0])
    before = model(images)
    for layer in explain.map_layers(model).values():
        explain.grad_cam(model, images, targets, layer)
    assert torch.equal(model(images), before)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())


def test_concentration_by_hand():
    point, even = torch.zeros(4, 5), torch.ones(4, 5)
    point[1, 2] = 3.0
    assert explain.concentration(point) == 1 / 20
    assert explain.concentration(even) == 0.5
    assert explain.concentration(-even) is None
    assert explain.concentration(even - 3 * (torch.arange(20).view(4, 5) >= 4)) == 2 / 20


def test_agreement_by_hand():
    a = torch.arange(12.0).view(3, 4)
    assert explain.agreement(a, 2 * a + 7) == pytest.approx(1)
    assert explain.agreement(a, -a) == pytest.approx(-1)
    assert explain.agreement(a, torch.ones(3, 4)) is None
    assert explain.agreement(torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])) == pytest.approx(3**-0.5)


def test_filters_are_scaled_one_by_one():
    conv = nn.Conv2d(1, 2, 1, bias=False)
    conv.weight = nn.Parameter(torch.tensor([0.001, -4.0]).view(2, 1, 1, 1))
    assert explain.first_filters(conv).flatten().tolist() == [255, 0]
    two = nn.Conv2d(2, 1, 1, bias=False)
    two.weight = nn.Parameter(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
    assert explain.first_filters(two).flatten().tolist() == [128]
