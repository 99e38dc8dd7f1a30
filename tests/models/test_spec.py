import tomllib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from snugnet import toml_text
from snugnet.models.resnet import ResNet
from snugnet.models.spec import ModelSpec, Stage
from specs import SPECS, spec

SLOW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def refused(words, *stages, **options):
    with pytest.raises(ValidationError) as caught:
        spec(*stages, **options)
    assert words in str(caught.value)


def test_the_list_form_is_the_table_form():
    table = {"block": "bottleneck", "blocks": 2, "channels": 64, "dropout": 0.1, "kernel": 5}
    assert Stage.parse(["bottleneck", 2, 64, 0.1, 5]) == Stage.parse(table)
    assert Stage.parse(["single", 1, 8]) == Stage(block="single", blocks=1, channels=8)


@pytest.mark.parametrize("items", [["basic", 2], ["basic", 2, 64, 0.1, 3, 1], []])
def test_a_list_of_another_length(items):
    refused(
        f"a stage as a list is [block, blocks, channels, dropout, kernel], the last two optional; got {items}", items
    )


@pytest.mark.parametrize(
    ("channels", "width", "scaled"),
    [(64, 0.5, 32), (3, 0.5, 2), (5, 0.5, 2), (1, 0.1, 1), (64, 0.668, 43), (10, 1.26, 13)],
)
def test_widths_round_to_the_nearest_and_never_to_none(channels, width, scaled):
    found = spec(["basic", 1, channels], width=width)
    assert found.scaled(channels) == scaled == found.stem_channels
    assert ResNet(found).stages[0][0].body.conv1.out_channels == scaled


def test_whitening_filters_keep_their_number_at_any_width():
    whitening = {"kernel": 2, "padding": 0, "channels": 24, "whiten": True}
    assert spec(stem=whitening, width=0.1).stem_channels == 24
    refused("must be even and at most 2 * kernel^2 * in_channels = 24; got 26", stem=whitening | {"channels": 26})
    refused("must be even and at most 2 * kernel^2 * in_channels = 24; got 7", stem=whitening | {"channels": 7})
    refused("= 8; got 24", stem=whitening, in_channels=1)


def test_strides_follow_the_stage():
    by_pool = {"block": "basic", "blocks": 1, "channels": 4, "entry": {"pool": {}}}
    by_conv = {"block": "basic", "blocks": 1, "channels": 4, "entry": {}}
    found = spec(["basic", 1, 4], ["basic", 1, 4], by_pool, by_conv)
    assert [found.stride(index) for index in range(4)] == [1, 2, 1, 2]
    assert found.map_sizes() == [32, 32, 16, 8, 4, 1]
    assert spec({"blocks": 1, "channels": 4, "stride": 3}).map_sizes() == [32, 11, 1]


@pytest.mark.parametrize(
    ("words", "stages", "options"),
    [
        ("stem shrinks a 4x4 map to nothing", [], {"image_size": 4, "stem": {"kernel": 5, "padding": 0}}),
        ("stages.1 shrinks a 2x2 map to nothing; use smaller strides, pools or kernels",
         [["basic", 1, 4], {"blocks": 1, "channels": 4, "pool": {}}],
         {"image_size": 4, "stem": {"stride": 2}}),
        ("head.kernel shrinks a 4x4 map to nothing", [], {"image_size": 4, "head": {"kernel": 5}}),
        ("stem shrinks a 4x4 map to nothing", [],
         {"image_size": 4, "stem": {"kernel": 5, "padding": 0, "pool": {"padding": 1}}}),
        ("blocks = 0 leaves the stage empty; give it blocks, or an entry", [["basic", 0, 4]], {}),
        ("a kernel inside a block must be odd, so that body and shortcut meet at one size; got 2",
         [["basic", 1, 4, 0.0, 2]], {}),
        ("padding must be at most half the kernel of 2; got 2", [], {"stem": {"pool": {"padding": 2}}}),
        ("less than or equal to 65536", [["basic", 1, 10**9]], {}),
        ("less than or equal to 1000", [["basic", 10**9, 4]], {}),
    ],
)  # fmt: skip
def test_impossible_nets_are_refused(words, stages, options):
    refused(words, *stages, **options)


@SLOW
@given(SPECS)
def test_predicted_maps_are_those_of_the_net(found: ModelSpec):
    sizes = []
    model = ResNet(found).eval()
    model.stem.register_forward_hook(lambda _m, _i, output: sizes.append(output.shape[-1]))
    for stage in model.stages:
        list(stage)[-1].register_forward_hook(lambda _m, _i, output: sizes.append(output.shape[-1]))
    model.head.pool.register_forward_hook(lambda _m, _i, output: sizes.append(output.shape[-1]))
    with torch.no_grad():
        logits = model(torch.zeros(2, found.in_channels, found.image_size, found.image_size))
    assert sizes == found.map_sizes()
    assert logits.shape == (2, found.classes)


@SLOW
@given(SPECS)
def test_plain_data_and_toml_give_the_same_spec(found: ModelSpec):
    assert ModelSpec.parse(found.plain()) == found
    assert ModelSpec.parse(found.plain(exclude_defaults=True)) == found
    assert ModelSpec.model_validate_json(found.model_dump_json()) == found
    text = toml_text.document({"model": found.plain()})
    assert ModelSpec.parse(tomllib.loads(text)["model"]) == found, text


def test_a_changed_copy_is_checked():
    assert spec().replaced(width=0.5).width == 0.5
    with pytest.raises(ValidationError):
        spec().replaced(width=-1.0)
    with pytest.raises(ValidationError):
        spec().width = 2.0  # frozen
