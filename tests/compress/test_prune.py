"""The law of structured pruning: the smaller net says what the larger one says with the channels silenced."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from snugnet import budget, foreign, recipe
from snugnet.compress import channels, prune
from snugnet.compress.channels import Channels
from snugnet.compress.prune import PruneConfig, Step
from snugnet.models.resnet import ResNet, build
from snugnet.models.spec import ModelSpec
from specs import SPECS, card, spec

SMALL = {"image_size": 8}
NETS = {
    "basic": spec(["basic", 2, 6], ["basic", 2, 8], stem={"channels": 5}, **SMALL),
    "the widths that a projection joins": spec(["basic", 1, 6], {"blocks": 2, "channels": 7, "stride": 1}, **SMALL),
    "preact": spec(["preact", 2, 6], ["preact", 1, 8], **SMALL),
    "bottleneck": spec(
        {"block": "bottleneck", "blocks": 2, "channels": 8},
        {"block": "bottleneck", "blocks": 1, "channels": 8, "inner": 5},
        **SMALL,
    ),
    "fire, dense skips": spec(
        {"block": "fire", "blocks": 2, "channels": 8, "inner": 3, "expand": [1, 3], "se": {"reduction": 2}},
        {"block": "fire", "blocks": 2, "channels": 9, "entry": {"pool": {}}},
        skips="dense",
        **SMALL,
    ),
    "depthwise, hidden layers": spec(
        {"block": "depthwise", "blocks": 2, "channels": 6, "se": {}}, head={"hidden": [5, 4], "norm": True}, **SMALL
    ),
    "no shortcuts": spec(
        {"block": "fire", "blocks": 3, "channels": 8},
        ["basic", 3, 5],
        shortcut={"kind": "none"},
        stem="none",
        in_channels=2,
        **SMALL,
    ),
    "projections alone": spec(
        {"block": "bottleneck", "blocks": 3, "channels": 8},
        ["single", 2, 5],
        shortcut={"kind": "always", "norm": False},
        conv_bias=True,
        head={"pool": "flatten", "hidden": [6]},
        **SMALL,
    ),
    "whitening": spec(
        {"block": "single", "blocks": 1, "channels": 6, "entry": {"pool": {}}},
        stem={"whiten": True, "channels": 4, "kernel": 2, "se": {}},
        **SMALL,
    ),
    "even kernels, wider": spec(
        {"blocks": 2, "channels": 6, "kernel": 2, "even": "pool"},
        {"blocks": 1, "channels": 6, "kernel": 2, "even": "padding", "pool": {}},
        width=1.7,
        **SMALL,
    ),
}
WAYS = [
    (PruneConfig(by="taylor"), 0.5),
    (PruneConfig(by="bn_scale", scope="uniform", multiple=2), 0.6),
    (PruneConfig(by="magnitude", floor=0.3), 1.0),
]
CONFIGS = st.builds(
    PruneConfig,
    by=st.sampled_from(["bn_scale", "magnitude", "taylor"]),
    scope=st.sampled_from(["global", "uniform"]),
    multiple=st.sampled_from([1, 1, 2, 4]),
    floor=st.sampled_from([0.0, 0.5]),
)
PRUNABLE = SPECS.filter(lambda plain: not channels.obstacle(plain))
ZERO_STAYS = PRUNABLE.filter(lambda plain: plain.activation != "softplus")  # its silent channels give a constant


def trained(plain: ModelSpec) -> ResNet:
    """A net whose scales, shifts and statistics are none of them what they begin as."""
    torch.manual_seed(0)
    model = build(plain).eval()
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            is_scale = "var" in name or "weight" in name
            value.copy_(torch.rand(value.shape) + 0.5 if is_scale else torch.randn(value.shape))
    return model


def images_of(plain: ModelSpec) -> tuple[torch.Tensor, torch.Tensor]:
    size = plain.image_size
    images = torch.randn((6, plain.in_channels, size, size), generator=torch.Generator().manual_seed(1))
    return images, torch.arange(6) % plain.classes


def ranked(plain: ModelSpec, model: ResNet, config: PruneConfig) -> tuple[Channels, list[Step]]:
    found = channels.follow(plain)
    scores = prune.importance(found, model.state_dict(), config.by, model, [images_of(plain)])
    found, score = prune.evened(plain, found, scores)
    return found, prune.order(found, score, config)


def all_of(steps: list[Step]) -> set[int]:
    return {root for step in steps for root in step.gone}


@torch.no_grad()
def silenced(model: ResNet, found: Channels, gone: set[int]) -> ResNet:
    """Filters, biases, scales and shifts of channels at zero; what reads them stays as it is."""
    model = copy.deepcopy(model)
    tensors = model.state_dict()
    for name, axes in found.axes.items():
        if "running" not in name and axes[0]:
            tensors[name][torch.tensor([row in gone for row in axes[0]])] = 0
    return model


def law(plain: ModelSpec, config: PruneConfig, share: float) -> ModelSpec:
    model = trained(plain)
    found, steps = ranked(plain, model, config)
    gone = all_of(steps[: round(share * len(steps))])
    small = prune.pruned_spec(plain, found, gone)
    assert ModelSpec.parse(small.plain()) == small
    net = build(small).eval()
    net.load_state_dict(prune.sliced(model.state_dict(), found, gone))  # every name and shape is as it must be
    images, _ = images_of(plain)
    with torch.no_grad():
        torch.testing.assert_close(net(images), silenced(model, found, gone)(images), rtol=1e-4, atol=1e-4)
    return small


@pytest.mark.parametrize(("config", "share"), WAYS, ids=str)
@pytest.mark.parametrize("name", NETS)
def test_a_pruned_net_is_the_net_with_silent_channels(name: str, config: PruneConfig, share: float):
    law(NETS[name], config, share)


@settings(max_examples=15, deadline=None)
@given(ZERO_STAYS, CONFIGS, st.floats(0, 1))
def test_so_is_any_other(plain: ModelSpec, config: PruneConfig, share: float):
    law(plain, config, share)


def kinds() -> Iterator[str]:
    """A built-in recipe of each kind of net."""
    seen = set()
    for name in recipe.builtin_names():
        net = recipe.load(name).experiment.model
        if channels.obstacle(net):
            continue
        stages = {(each.block, each.even, each.entry is None, each.pool is None) for each in net.stages}
        kind = (frozenset(stages), net.shortcut.kind, net.skips == "dense", net.stem == "none", net.head.pool)
        if kind not in seen:
            seen.add(kind)
            yield name


@pytest.mark.parametrize("name", list(kinds()))
def test_so_is_every_kind_of_built_in_net(name: str):
    net = recipe.load(name).experiment.model
    plain = net.model_copy(update={"width": max(0.06, 4 / min(stage.channels for stage in net.stages))})
    small = law(plain, PruneConfig(), 0.5)
    assert budget.measure(card(small), "params") < budget.measure(card(plain), "params")


# what goes


def test_every_tensor_is_known_by_its_channels():
    for plain in NETS.values():
        names = {name for name in build(plain).state_dict() if not name.endswith("num_batches_tracked")}
        assert channels.follow(plain).axes.keys() == names


def test_a_projection_stays_one_where_its_widths_became_equal():
    small = law(NETS["the widths that a projection joins"], PruneConfig(scope="uniform"), 1.0)
    assert [stage.channels for stage in small.stages] == [1, 1]
    assert small.stages[1].shortcut is not None
    assert small.stages[1].shortcut.kind == "first"


def test_as_far_as_it_goes_one_channel_is_left_in_every_layer():
    small = law(NETS["fire, dense skips"], PruneConfig(), 1.0)
    assert [(stage.channels, stage.inner, stage.expand) for stage in small.stages] == [(2, 1, (1, 1))] * 2


def test_a_floor_is_kept_in_every_layer():
    small = law(NETS["basic"], PruneConfig(floor=0.5), 1.0)
    assert [(stage.channels, stage.inner) for stage in small.stages] == [(3, None), (4, None)]
    assert small.stem != "none"
    assert small.stem.channels == 3


def test_whitening_filters_and_the_image_stay():
    found = channels.follow(NETS["whitening"])
    assert set(found.outputs["stem.conv"]) <= found.fixed
    read = channels.follow(spec(["basic", 1, 3], ["basic", 1, 4], stem="none", **SMALL)).settled()
    assert set(read.outputs["stages.0.0.activation"]) <= read.fixed  # its identity ties it to the image


def test_multiples():
    plain = spec(["basic", 1, 10], ["basic", 1, 16], **SMALL)
    model = trained(plain)
    found, steps = ranked(plain, model, PruneConfig(multiple=4))
    sizes = {len(group): [] for group in prune.groups(found)}
    assert {len(step.gone) for step in steps} == {2, 4}
    for count in range(len(steps) + 1):
        gone = all_of(steps[:count])
        for group in prune.groups(found):
            left = sum(root not in gone for root in group)
            assert left % 4 == 0 or left == len(group)
            sizes[len(group)].append(left)
    assert min(sizes[10]) == min(sizes[16]) == 4


def test_uniformly_each_group_gives_the_same_share():
    plain = spec(["basic", 2, 10], ["basic", 1, 20], **SMALL)
    found, steps = ranked(plain, trained(plain), PruneConfig(scope="uniform"))
    for count in range(len(steps)):
        gone = all_of(steps[:count])
        free = [group for group in prune.groups(found) if found.fixed.isdisjoint(group)]  # the classes are not
        shares = [(sum(root in gone for root in group) / len(group), len(group)) for group in free]
        for share, size in shares:
            assert all(abs(share - other) <= max(1 / size, 1 / least) + 1e-9 for other, least in shares)


# what matters


def test_the_smallest_scale_goes_first():
    plain = spec(["basic", 1, 6], **SMALL)
    model = trained(plain)
    with torch.no_grad():
        model.get_submodule("stages.0.0.body.norm1").weight[4] = -1e-3
    found, steps = ranked(plain, model, PruneConfig(by="bn_scale"))
    assert steps[0].gone == (found.outputs["stages.0.0.body.conv1"][4],)


def test_the_smallest_filter_goes_first():
    plain = spec(["basic", 1, 6], **SMALL)
    model = trained(plain)
    with torch.no_grad():
        model.get_submodule("stages.0.0.body.conv1").weight[2] *= 1e-3
    found, steps = ranked(plain, model, PruneConfig(by="magnitude"))
    assert steps[0].gone == (found.outputs["stages.0.0.body.conv1"][2],)


def test_first_order_importance_is_the_slope_of_the_loss():
    """Scale and shift of one norm are shrunk a little: by how much the loss moves, squared."""
    plain = spec({"blocks": 1, "channels": 4, "inner": 5}, activation="tanh", **SMALL)
    model, (images, labels) = trained(plain).double(), images_of(plain)
    images = images.double()
    found = channels.follow(plain)
    scores = prune.importance(found, model.state_dict(), "taylor", model, [(images, labels)])
    norm, step = model.get_submodule("stages.0.0.body.norm1"), 1e-5
    for place, root in enumerate(found.roots(found.outputs["stages.0.0.body.conv1"])):
        losses = []
        for factor in (1 + step, 1 - step):
            with torch.no_grad():
                before = norm.weight[place].clone(), norm.bias[place].clone()
                norm.weight[place], norm.bias[place] = before[0] * factor, before[1] * factor
                losses.append(F.cross_entropy(model(images), labels).item())
                norm.weight[place], norm.bias[place] = before
        slope = (losses[0] - losses[1]) / (2 * step)
        assert scores[root].item() == pytest.approx(slope**2, rel=1e-3, abs=1e-10)
    assert all(parameter.grad is None for parameter in model.parameters())


# how many


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.data())
def test_as_little_goes_as_the_target_allows(sizes: list[int], data: st.DataObject):
    """Steps of many sizes, each of its own kind: within the target, and not one of them can be put back."""
    limit = data.draw(st.integers(0, sum(sizes)))
    steps = [Step((place,), place) for place in range(len(sizes))]

    def left(gone: set[int]) -> int:
        return sum(size for place, size in enumerate(sizes) if place not in gone)

    gone = prune.choose(steps, lambda gone: left(gone) <= limit)
    assert gone is not None
    assert left(gone) <= limit
    assert all(left(gone - {place}) > limit for place in gone)
    assert left(set(range(max(gone, default=-1)))) > limit or not gone  # the fewest steps of the order


def test_exactly_at_the_target_nothing_goes():
    plain = spec(["basic", 1, 6], **SMALL)
    found, steps = ranked(plain, trained(plain), PruneConfig())
    price = budget.measure(card(plain), "params")
    seen = []
    for limit in (price, price - 1, price // 2, price // 3):
        gone = prune.choose(
            steps,
            lambda gone, limit=limit: budget.measure(card(prune.pruned_spec(plain, found, gone)), "params") <= limit,
        )
        assert gone is not None
        seen.append(budget.measure(card(prune.pruned_spec(plain, found, gone)), "params"))
        assert seen[-1] <= limit
    assert seen[0] == price
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 4


def test_a_target_out_of_reach():
    assert prune.choose([Step((0,), 0)], lambda gone: False) is None


def test_a_block_of_the_user_s_own_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make = "nn.Conv2d(block.channels_in, block.channels_out, 3, padding=1)"
    (tmp_path / "prunable.py").write_text(f"from torch import nn\ndef Own(block):\n    return {make}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with foreign.code_allowed():
        plain = spec(["basic", 1, 6], {"block": "prunable:Own", "blocks": 1, "channels": 6, "stride": 1}, **SMALL)
        small = law(plain, PruneConfig(), 1.0)
    assert [(stage.channels, stage.inner) for stage in small.stages] == [(6, 1), (6, None)]
