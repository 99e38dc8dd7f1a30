"""What buys accuracy without bytes: attention, convolutions in parts, weights used several times, branches that ship as
one, filters in front of strides."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from small_runs import tiny
from snugnet import artifact, design, pipeline, recipe
from snugnet.budget import Budget, count_params, price
from snugnet.compress import channels, integer
from snugnet.compress.config import Quantization, QuantizeConfig
from snugnet.compress.graph import folded, structure
from snugnet.compress.quantize import quantized
from snugnet.compress.training import Rounded
from snugnet.errors import UsageError
from snugnet.models.convs import Branches, Merged
from snugnet.models.layers import BlockAttend, Blur, EfficientAttend, Shuffle
from snugnet.models.parts import BlockAttention, EfficientAttention, Norm
from snugnet.models.resnet import build, build_meta, merged
from specs import card, spec

SMALL = {"image_size": 8}
REPEATED = spec({"blocks": 2, "channels": 6, "entry": {}, "repeat": 3, "se": {"inner": 2}}, **SMALL)


def lively(found):
    """In evaluation mode; its norms scale, shift and turn round."""
    torch.manual_seed(0)
    model = build(found).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


@pytest.mark.parametrize(
    ("channels_", "neighbours"), [(3, 1), (8, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5)]
)
def test_the_neighbours_of_a_channel_by_the_papers_rule(channels_, neighbours):
    """As its authors have it: t = int(|log2(C) + 1| / 2), and one more where that is even."""
    assert EfficientAttention().neighbours(channels_) == neighbours


def test_channels_scaled_by_their_neighbours():
    torch.manual_seed(0)
    eca, x = EfficientAttend(16, EfficientAttention(kernel=3)), torch.randn(2, 16, 5, 5)
    assert count_params(eca) == 3
    means, (a, b, c) = F.pad(x.mean((2, 3)), (1, 1)), eca.conv.weight.flatten()
    by_hand = torch.sigmoid(a * means[:, :-2] + b * means[:, 1:-1] + c * means[:, 2:])
    torch.testing.assert_close(eca(x), x * by_hand[:, :, None, None])


def test_channels_then_places():
    torch.manual_seed(0)
    cbam, x = BlockAttend(8, BlockAttention(inner=2, kernel=3), Norm()).eval(), torch.randn(2, 8, 5, 5)
    assert count_params(cbam) == 8 * 2 + 2 + 2 * 8 + 8 + 2 * 9 + 2

    def hidden(values):
        return torch.relu(values @ cbam.squeeze.weight.flatten(1).T + cbam.squeeze.bias)

    both = hidden(x.mean((2, 3))) + hidden(x.amax((2, 3)))
    channels_ = torch.sigmoid(both @ cbam.excite.weight.flatten(1).T + 2 * cbam.excite.bias)
    y = x * channels_[:, :, None, None]
    places = F.conv2d(torch.stack([y.amax(1), y.mean(1)], 1), cbam.conv.weight, padding=1) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(cbam(x), y * torch.sigmoid(places))


def test_attention_is_counted():
    plain, with_eca = (price(card(spec({"blocks": 2, "channels": 8, **more}, **SMALL))) for more in ({}, {"eca": {}}))
    assert (with_eca.params - plain.params, with_eca.macs - plain.macs) == (2 * 3, 2 * 3 * 8)


def test_the_net_of_the_bsconv_paper():
    """cifar_wrn28_2_bsconvs_p1d4 as its authors' code builds it, by hand: 0.12M parameters there."""

    def bsconv(i, o):
        middle = min(i, max(4, -(-i // 4)))
        return i * middle + 2 * middle + middle * o + 2 * o + 9 * o

    def unit(i, o):
        return 2 * i + bsconv(i, o) + 2 * o + bsconv(o, o) + (i * o if i != o else 0)

    by_hand = 2 * 3 + bsconv(3, 16)
    for i, o in ((16, 32), (32, 64), (64, 128)):
        by_hand += unit(i, o) + 3 * unit(o, o)
    by_hand += 2 * 128 + 128 * 10 + 10
    cost = price(card(recipe.load("snugnet/wrn-28-2-bsconvs").experiment.model))
    assert cost.params == by_hand
    assert round(cost.params / 1e6, 2) == 0.12


def test_a_wide_block_projects_what_it_has_activated():
    found = spec({"block": "wide", "blocks": 2, "channels": 6}, stem={"bare": True, "channels": 4}, **SMALL)
    model, x = lively(found), torch.randn(2, 4, 8, 8)
    assert [name for name, _ in model.stem.named_children()] == ["conv"]
    first, second = model.stages[0]
    opened = torch.relu(first.opening.norm(x))
    torch.testing.assert_close(first(x), first.body(opened) + first.shortcut(opened))
    y = torch.randn(2, 6, 8, 8)
    torch.testing.assert_close(second(y), torch.relu(second.activation.norm(second.body(y) + y)))


def unrolled(found):
    """The same net with a block for each use, and the names of its weights by those of the shared ones."""
    stages = [stage.model_copy(update={"blocks": stage.uses, "repeat": 1}) for stage in found.stages]
    return found.model_copy(update={"stages": tuple(stages)})


def test_weights_used_several_times_learn_as_tied_copies_do():
    shared, torn = build(REPEATED), build(unrolled(REPEATED))
    assert set(torn.state_dict()) - set(shared.state_dict()) == set(shared.shared)
    torn.load_state_dict(shared.state_dict() | {name: shared.get_parameter(own) for name, own in shared.shared.items()})
    images, labels = torch.randn(4, 3, 8, 8), torch.arange(4)
    for model in (shared, torn):
        F.cross_entropy(model(images), labels).backward()
    owners = {name: shared.shared.get(name, name) for name, _ in torn.named_parameters()}
    for name, weight in shared.named_parameters():
        copies = [torn.get_parameter(each).grad for each, owner in owners.items() if owner == name]
        torch.testing.assert_close(weight.grad, sum(copies), rtol=1e-4, atol=1e-6)
    assert len([1 for owner in owners.values() if owner == "stages.0.1.body.conv1.weight"]) == 3


def test_shared_weights_are_counted_and_stored_once(tmp_path: Path):
    model, cost = lively(REPEATED), price(card(REPEATED))
    once = price(card(REPEATED.model_copy(update={"stages": (REPEATED.stages[0].model_copy(update={"repeat": 1}),)})))
    norms = 4 * 2 * 2 * 6  # of four more uses, two norms each, a scale and a shift for each channel
    assert cost.params - once.params == norms
    assert cost.macs > 2.4 * once.macs
    assert artifact.write(tmp_path / "x", card(REPEATED), model) == cost.bytes
    read = artifact.read(tmp_path / "x").model
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(read(images), model(images), rtol=0, atol=0)
    assert count_params(read) == cost.params  # still one, after it was moved off the meta device


def test_shared_weights_are_the_same_integers():
    model, graph = lively(REPEATED), structure(REPEATED)
    weights = folded(graph, model.state_dict())
    net = quantized(graph, weights, [torch.randn(4, 3, 8, 8)], QuantizeConfig())
    uses = [name for name, own in graph.owners.items() if graph.node(name).layer.conv == "stages.0.1.body.conv1"]
    assert len(uses) == 3
    assert {graph.owners[name] for name in uses} == {uses[0]}
    assert any((net.codes[name].scales < 0).any() for name in uses)
    for name in uses:
        assert net.codes[name].codes is net.codes[uses[0]].codes
        worst = (net.codes[name].values() - weights[name][0]).abs().flatten(1).amax(1)
        assert (worst <= net.codes[name].scales.abs() * 0.51).all() or (
            worst / weights[name][0].abs().max() < 0.02
        ).all()
    rounded = Rounded(net, weights)
    assert set(rounded.weights) == set(graph.owners.values())
    again = rounded.quantized()
    assert all(torch.equal(again.codes[name].codes, net.codes[name].codes) for name in net.codes)


def test_shared_weights_learn_in_rounded_numbers():
    model, graph, images = lively(REPEATED), structure(REPEATED), torch.randn(8, 3, 8, 8)
    weights = folded(graph, model.state_dict())
    learner = Rounded(quantized(graph, weights, [images], QuantizeConfig(weights="int4", group=8)), weights)
    F.cross_entropy(learner(images), torch.arange(8)).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in learner.weights.values())
    with torch.no_grad():
        for weight in learner.parameters():
            weight -= 0.05 * weight.grad / weight.grad.norm().clamp(min=1e-6)
        wanted, ships = learner(images), integer.module(learner.quantized())(images)
    assert float((wanted - ships).abs().max()) <= 0.05 * float(wanted.abs().max())


def test_the_widest_net_of_branches_has_them():
    net = 'model.stages=[{block="single",blocks=2,channels=4,conv={kind="repvgg"}}]'
    experiment = tiny(net).experiment
    found = design.widest(experiment, pipeline.planned_card(experiment), Budget(params="5k"))
    assert found.model.stages[0].conv.kind == "repvgg"
    assert 4_500 < count_params(build_meta(found.model.shipped)) <= 5_000


def test_branches_are_one_convolution_that_computes_the_same():
    stage = {"block": "single", "blocks": 2, "channels": 6, "conv": {"kind": "repvgg"}, "kernel": 5}
    found = spec(stage, stage, conv_bias=True, **SMALL)
    model = lively(found)
    assert [len(list(each.children())) for each in model.modules() if isinstance(each, Branches)] == [3, 3, 2, 3]
    shipped, images = merged(model, found), torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(shipped(images), model(images), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(each, Merged) for each in shipped.modules()) == 4
    assert set(shipped.state_dict()) == set(build_meta(found.shipped).state_dict())


def test_a_net_of_branches_is_trained_whole_and_ships_as_one(tmp_path: Path):
    conv = 'model.stages=[{block="single",blocks=2,channels=4,conv={kind="repvgg"}}]'
    summary = pipeline.start(tiny(conv, "train.epochs=1"), tmp_path / "run", pipeline.Controls())
    shipped = artifact.read(tmp_path / "run" / "model.safetensors")
    assert shipped.card.model.stages[0].conv.kind == "merged"
    assert summary["params"] == count_params(build_meta(shipped.card.model)) == shipped.params
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["stages"][0]["conv"]["kind"] == "repvgg"
    assert artifact.predict_bytes(shipped.card) == shipped.size_bytes


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_a_blur_is_the_binomial_filter(size, stride):
    row = torch.tensor({3: [1, 2, 1], 5: [1, 4, 6, 4, 1], 7: [1, 6, 15, 20, 15, 6, 1]}[size]) / 2 ** (size - 1)
    x, weight = torch.randn(2, 4, 9, 9), torch.outer(row, row).expand(4, 1, -1, -1)
    expected = F.conv2d(F.pad(x, [size // 2] * 4), weight, stride=stride, groups=4)
    torch.testing.assert_close(Blur(size, stride)(x), expected)
    assert expected.shape[-1] == -(-9 // stride)


def test_a_blur_takes_the_strides_of_a_stage():
    for block in ("basic", "bottleneck", "single", "preact", "wide", "depthwise", "fire", "shuffle"):
        found = spec(["basic", 1, 4], {"block": block, "blocks": 1, "channels": 8, "blur": 3}, **SMALL)
        model = build_meta(found)
        last = model.stages[1][0]
        assert {each.stride for each in last.modules() if isinstance(each, nn.Conv2d)} == {(1, 1)}
        assert sum(isinstance(each, Blur) for each in last.modules()) == 2  # of body and shortcut
        assert model(torch.empty(1, 3, 8, 8, device="meta")).shape == (1, 10)
        assert found.map_sizes()[2] == 4


def test_a_pool_with_a_blur():
    found = spec({"blocks": 1, "channels": 4, "pool": {"kernel": 3, "stride": 2, "padding": 1, "blur": 3}}, **SMALL)
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(build(found).stages[0][1](x), Blur(3, 2)(F.max_pool2d(x, 3, 1, 1)))
    assert found.map_sizes() == [8, 4, 1]


def test_a_shuffle_deals_out_the_groups():
    assert Shuffle(3)(torch.arange(6.0).view(1, 6, 1, 1)).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_groups_of_a_shuffle_and_of_a_bottleneck():
    stage = {"block": "shuffle", "blocks": 2, "channels": 16, "groups": 2}
    body = build_meta(spec(stage, **SMALL)).stages[0]
    assert [[conv.groups for conv in each.body.modules() if isinstance(conv, nn.Conv2d)] for each in body] == [
        [1, 4, 2],
        [2, 4, 2],
    ]
    found = spec({"block": "bottleneck", "blocks": 1, "channels": 18, "groups": 4, "inner": 9}, width=0.5, **SMALL)
    body = build_meta(found).stages[0][0].body
    assert (body.conv2.groups, body.conv2.out_channels, body.conv3.out_channels) == (4, 4, 8)  # to multiples of 4


@pytest.mark.parametrize(
    ("words", "stage", "options"),
    [
        ("share belongs to bsconv-s and low-rank; got bsconv-u", {"conv": {"kind": "bsconv-u", "share": 0.5}}, {}),
        ("norm belongs to bsconv-u, bsconv-s and low-rank; got repvgg", {"conv": {"kind": "repvgg", "norm": True}}, {}),
        ("repvgg belongs to basic, bottleneck, single; got preact",
         {"block": "preact", "conv": {"kind": "repvgg"}}, {}),
        ("conv stands for convolutions of an odd kernel above 1; got 1",
         {"kernel": 1, "conv": {"kind": "bsconv-u"}}, {}),
        ("groups belongs to bottleneck and shuffle, without conv; got basic", {"groups": 2}, {}),
        ("groups belongs to bottleneck and shuffle, without conv; got conv = low-rank",
         {"block": "bottleneck", "groups": 2, "conv": {"kind": "low-rank"}}, {}),
        ("repeat is of blocks behind the first, or behind an entry; give blocks = 2, or an entry", {"repeat": 2}, {}),
        ("stages.0: blur takes the stride of a stage, and this one has none; leave it out", {"blur": 3}, {}),
        ("stages.0: zero_last_norm needs bodies that end in a norm; repvgg does not", {"conv": {"kind": "repvgg"}},
         {"zero_last_norm": True}),
        ("conv of a stem must be bsconv-u, bsconv-s or low-rank, without whiten; got repvgg", {},
         {"stem": {"conv": {"kind": "repvgg"}}}),
        ("bare leaves neither norm nor activation; leave whiten and pool_first out", {},
         {"stem": {"bare": True, "whiten": True}}),
    ],
)  # fmt: skip
def test_what_does_not_go_together(words, stage, options):
    with pytest.raises(ValidationError) as caught:
        spec({"blocks": 1, "channels": 4, **stage}, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "stem", "words"),
    [
        ({"eca": {}, "groups": 2, "block": "shuffle"}, {}, "model.stages.0: eca and groups and block = 'shuffle'"),
        ({}, {"bare": True}, "model.stem: bare"),
    ],
)
def test_channels_that_are_not_pruned(stage, stem, words):
    with pytest.raises(UsageError) as caught:
        channels.follow(spec({"blocks": 1, "channels": 4, **stage}, stem=stem))
    assert str(caught.value) == f"{words}: channels cannot be pruned there; give --int8 or --int4 instead"


def test_layers_of_shared_weights_count_once():
    cost = price(card(REPEATED))
    assert sum(layer.params for layer in cost.layers) == cost.params
    assert dataclasses.asdict(cost)["bytes_int8"] == artifact.predict_bytes(
        card(REPEATED).model_copy(update={"quantization": Quantization()})
    )
