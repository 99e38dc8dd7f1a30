"""What a block may be made of besides convolutions, what it starts from, and which designs are refused."""

import pytest
import torch
from pydantic import ValidationError

from snugnet import design, pipeline, recipe
from snugnet.budget import Budget, count_params, measure, price
from snugnet.models.bodies import BODIES
from snugnet.models.layers import ACTIVATIONS, DropPath, SqueezeExcite, StridedPointwise
from snugnet.models.parts import SqueezeExcitation
from snugnet.models.resnet import build, build_meta
from snugnet.models.spec import BLOCKS, ActivationName, ModelSpec
from specs import card, spec


def test_every_name_of_the_specification_is_built():
    assert tuple(BODIES) == BLOCKS
    assert tuple(ACTIVATIONS) == ActivationName.__args__


def test_squeeze_and_excitation_scales_each_channel():
    torch.manual_seed(0)
    se = SqueezeExcite(32, SqueezeExcitation(reduction=16))
    assert count_params(se) == 32 * 2 + 2 + 2 * 32 + 32
    x = torch.randn(3, 32, 5, 5)
    means = x.mean((2, 3))
    inner = torch.relu(means @ se.squeeze.weight.flatten(1).T + se.squeeze.bias)
    scale = torch.sigmoid(inner @ se.excite.weight.flatten(1).T + se.excite.bias)
    assert torch.allclose(se(x), x * scale[:, :, None, None], atol=1e-6)


def test_squeeze_and_excitation_stands_last_in_stem_and_body():
    model = build(spec({"blocks": 1, "channels": 8, "se": {"reduction": 4}}, stem={"pool": {}, "se": {}}))
    assert [name for name, _ in model.stem.named_children()] == ["conv", "norm", "activation", "pool", "se"]
    block, x = model.eval().stages[0][0], torch.randn(2, 8, 16, 16)
    assert torch.equal(block(x), torch.relu(block.se(block.body(x)) + x))
    kinds = [layer.kind for layer in price(card(spec({"blocks": 1, "channels": 8, "se": {}}))).layers]
    assert kinds.count("Conv2d") == 5  # its convolutions are counted as any other


def test_drop_path_silences_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    drop, ones = DropPath(0.25), torch.ones(20_000, 2, 1, 1)
    dropped = drop(ones)
    assert sorted(set(dropped.flatten().tolist())) == [0, pytest.approx(4 / 3)]
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert drop.eval()(ones) is ones


def test_drop_path_grows_with_depth_unless_a_stage_says_its_own():
    model = build_meta(spec(["basic", 3, 4], {"blocks": 2, "channels": 4, "drop_path": 0.5}, drop_path=0.4))
    rates = [block.drop_path.rate if block.drop_path else 0 for stage in model.stages for block in stage]
    assert rates == [0, pytest.approx(0.1), pytest.approx(0.2), 0.5, 0.5]


@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("kaiming_fan_in", (2 / (16 * 9)) ** 0.5),
        ("kaiming_fan_out", (2 / (64 * 9)) ** 0.5),
        ("xavier", (2 / ((16 + 64) * 9)) ** 0.5),
    ],
)
def test_the_variance_of_each_init(init, std):
    torch.manual_seed(0)
    weight = build(spec(["basic", 1, 64], stem={"channels": 16}, init=init)).stages[0][0].body.conv1.weight
    assert weight.std().item() == pytest.approx(std, rel=0.03)


def test_the_identity_hands_on_channels():
    torch.manual_seed(0)
    body = build(spec(["basic", 1, 8], stem={"channels": 4}, init="identity")).stages[0][0].body
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(body.conv1(x)[:, :4], x)
    assert body.conv1.weight[4:].std() > 0.01  # filters beyond the input's channels stay random


def test_the_identity_is_of_entries_too_and_not_of_the_stem():
    torch.manual_seed(0)
    stage = {"block": "single", "blocks": 1, "channels": 8, "entry": {}}
    model = build(spec(stage, stem={"channels": 4}, init="identity"))
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(model.stages[0][0].conv(x)[:, :4], x)
    assert not torch.equal(model.stem.conv(x[:, :3])[:, :3], x[:, :3])


def test_scales_may_stay_one_and_the_classifier_start_small():
    torch.manual_seed(0)
    plain = build(spec(["basic", 1, 8]))
    torch.manual_seed(0)
    model = build(spec(["basic", 1, 8], norm={"learn_scale": False}, head={"start": 0.5}))
    still = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert still == [name for name, _ in plain.named_parameters() if "norm" in name and name.endswith(".weight")]
    for name, weight in model.head.classifier.named_parameters():
        assert torch.equal(weight, 0.5 * plain.head.classifier.get_parameter(name))


@pytest.mark.parametrize("block", ["basic", "bottleneck", "single", "depthwise", "fire"])
def test_a_block_of_a_zeroed_norm_starts_as_its_shortcut(block):
    model = build(spec({"block": block, "blocks": 1, "channels": 8}, zero_last_norm=True)).eval()
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(model.stages[0][0](x), torch.relu(x))


def test_every_convolution_is_biased_where_wanted():
    model = build_meta(spec({"block": "fire", "blocks": 2, "channels": 8, "entry": {}}, conv_bias=True, skips="dense"))
    assert all(m.bias is not None for m in model.modules() if isinstance(m, torch.nn.Conv2d))


def test_a_row_of_pre_activation_ends_in_one_activation():
    stage = {"block": "preact", "blocks": 2, "channels": 4}
    model = build_meta(spec(stage, stage, stage | {"entry": {}}, ["basic", 1, 4]))
    kinds = [type(block.activation).__name__ for stage in model.stages for block in stage if hasattr(block, "body")]
    assert kinds == ["Identity", "Identity", "Identity", "ReLU", "Identity", "ReLU", "ReLU"]


@pytest.mark.parametrize(
    ("words", "stages", "options"),
    [
        ("even belongs to basic blocks of an even kernel; got single, kernel 2",
         [{"block": "single", "blocks": 1, "channels": 4, "kernel": 2, "even": "pool"}], {}),
        ("even belongs to basic blocks of an even kernel; got basic, kernel 3",
         [{"blocks": 1, "channels": 4, "even": "pool"}], {}),
        ("stages.1: a block with an even kernel and stride 2 needs a map whose side is a multiple of it; got 5x5",
         [["basic", 1, 4], {"blocks": 1, "channels": 4, "kernel": 2, "even": "padding"}], {"image_size": 5}),
        ("expand belongs to fire; got basic", [{"blocks": 1, "channels": 4, "expand": [1, 1]}], {}),
        ("inner belongs to basic, bottleneck, preact, wide, fire, shuffle, transformer; got single",
         [{"block": "single", "blocks": 1, "channels": 4, "inner": 2}], {}),
        ("inner must be one width, or one for each of 2 blocks; got 3",
         [{"blocks": 2, "channels": 4, "inner": [2, 1, 3]}], {}),
        ("must be a whole number from 1 to 65536, or one for each block; got [2, 0]",
         [{"blocks": 2, "channels": 4, "inner": [2, 0]}], {}),
        ("inner and reduction both say the inner width; give one",
         [{"blocks": 1, "channels": 4, "se": {"inner": 2, "reduction": 2}}], {}),
        ("inner and reduction both say the inner width; give one",
         [{"block": "fire", "blocks": 1, "channels": 4, "inner": 2, "reduction": 2}], {}),
        ("a skip must lead forward among blocks 1 to 2; got 2 to 2", [["basic", 2, 4]],
         {"skips": [{"from": 2, "to": 2}]}),
        ("a skip must lead forward among blocks 1 to 2; got 1 to 3", [["basic", 2, 4]],
         {"skips": [{"from": 1, "to": 3}]}),
        ("skips must be given once each; got [(1, 2), (1, 2)]", [["basic", 2, 4]],
         {"skips": [{"from": 1, "to": 2}] * 2}),
        ("the skip from 1 to 2 must lead to a map of 17x17, and no stride makes it of 32x32",
         [{"blocks": 1, "channels": 4, "pool": {"padding": 1}}, {"blocks": 1, "channels": 4, "stride": 1}],
         {"skips": "dense"}),
        ("skips = 'dense' is for at most 64 blocks; got 65", [["basic", 65, 4]], {"skips": "dense"}),
        ("must be 'dense' or a list of { from, to }; got 'dens', did you mean 'dense'?", [], {"skips": "dens"}),
        ("stages.0: drop_path and zero_last_norm need a shortcut; got kind = 'none'", [],
         {"drop_path": 0.1, "shortcut": {"kind": "none"}}),
        ("stages.0: zero_last_norm needs bodies that end in a norm; preact does not", [["preact", 1, 4]],
         {"zero_last_norm": True}),
        ("kernel must be left out where pool is 'flatten'; got 4", [], {"head": {"pool": "flatten", "kernel": 4}}),
        ("norm stands behind hidden layers; give hidden, or leave norm out", [], {"head": {"norm": True}}),
    ],
)  # fmt: skip
def test_impossible_nets_are_refused(words, stages, options):
    with pytest.raises(ValidationError) as caught:
        spec(*stages, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("block", ["basic", "preact", "bottleneck", "fire"])
def test_each_block_of_a_stage_may_have_its_own_inner_width(block):
    model = build_meta(spec({"block": block, "blocks": 2, "channels": 8, "inner": [3, 5]}, width=2.0))
    layer = "squeeze.conv" if block == "fire" else "conv1"
    assert [each.body.get_submodule(layer).out_channels for each in model.stages[0]] == [6, 10]


@pytest.mark.parametrize("block", ["basic", "preact"])
def test_without_an_inner_width_it_is_the_outputs(block):
    plain = build_meta(spec({"block": block, "blocks": 1, "channels": 8})).state_dict()
    given = build_meta(spec({"block": block, "blocks": 1, "channels": 8, "inner": 8})).state_dict()
    assert {name: value.shape for name, value in plain.items()} == {name: value.shape for name, value in given.items()}


def test_a_shortcut_that_is_a_convolution_in_the_first_block_of_each_stage():
    model = build_meta(spec(["basic", 2, 4], {"blocks": 2, "channels": 4, "stride": 1}, shortcut={"kind": "first"}))
    kinds = [type(block.shortcut).__name__ for stage in model.stages for block in stage]
    assert kinds == ["Sequential", "Identity"] * 2


def test_squeeze_and_excitation_of_a_given_width():
    model = build_meta(spec({"blocks": 1, "channels": 8, "se": {"inner": 3}}, width=2.0))
    assert model.stages[0][0].se.squeeze.out_channels == 3


@pytest.mark.parametrize("name", ["tu24/v4", "tu24/alpha", "aswani22/row1-kernel2-padding"])
def test_the_widest_form_of_any_net_is_valid(name):
    experiment = recipe.load(name).experiment
    found = design.widest(experiment, pipeline.planned_card(experiment), Budget(params="150k"))
    assert ModelSpec.parse(found.model.plain()) == found.model
    assert 145_000 < measure(card(found.model), "params") <= 150_000  # v4: a channel before its head costs 6,467


@pytest.mark.parametrize("channels", range(1, 10))
def test_a_strided_1x1_convolution_is_torchs(channels):
    """channels-last as in training, where torch's own corrupts memory on some CPUs: it is asked in the other layout."""
    torch.manual_seed(channels)
    ours, theirs = StridedPointwise(channels, 6, 1, 2), torch.nn.Conv2d(channels, 6, 1, 2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, 7, 7)
    first, second = x.clone(memory_format=torch.channels_last).requires_grad_(), x.clone().requires_grad_()
    out, expected = ours.to(memory_format=torch.channels_last)(first), theirs(second)
    for each in (out, expected):
        each.square().sum().backward()
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(first.grad, second.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_no_net_asks_torch_for_a_strided_1x1_convolution():
    for name in recipe.builtin_names():
        for module in build_meta(recipe.load(name).experiment.model).modules():
            if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (1, 1) and module.stride != (1, 1):
                assert isinstance(module, StridedPointwise), name
