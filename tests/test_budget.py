import pytest
import torch
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from snugnet import artifact, budget, pipeline, recipe
from snugnet.budget import Budget
from snugnet.errors import OverBudget
from snugnet.models.resnet import build
from specs import SPECS, card, spec


def real_peak(model, found):
    """The peak of real tensors on the CPU."""
    image = torch.zeros(1, found.in_channels, found.image_size, found.image_size)
    live = budget._LiveTensors(*model.parameters(), *model.buffers())
    live.watch(image)
    with torch.no_grad(), live:
        model(image)
    return live.peak


SMALL = spec(
    ["single", 1, 4], image_size=8
)  # stem 3 to 4, one convolution 4 to 4, each with batch norm; linear 4 to 10


def test_a_net_counted_by_hand():
    cost = budget.price(card(SMALL))
    assert cost.params == (3 * 4 * 9 + 8) + (4 * 4 * 9 + 8) + (4 * 10 + 10) == 318
    assert cost.macs == 64 * (3 * 9 * 4) + 64 * (4 * 9 * 4) + 4 * 10 == 16_168
    assert cost.size_mb == (4 * 318 + 2 * (4 * 8 + 8)) / 2**20  # means and variances, and a counter of 8 bytes a norm
    header = cost.bytes_fp32 - 4 * (318 + 2 * 8)
    assert header % 8 == 0
    assert cost.bytes_int8 is not None
    int8_header = cost.bytes_int8 - (108 + 144 + 40) - 8 * (4 + 4 + 10) - 5 * 5  # scale and bias; image and four maps
    assert int8_header % 8 == 0
    assert 0 < int8_header < header
    image, plane = 4 * 3 * 64, 4 * 4 * 64
    assert cost.peak_activation_bytes == image + 3 * plane  # input of the block, its convolution, and the norm of that
    assert [(layer.name, layer.kind, layer.output, layer.params, layer.macs) for layer in cost.layers] == [
        ("stem.conv", "Conv2d", (4, 8, 8), 108, 6912),
        ("stem.norm", "BatchNorm2d", (4, 8, 8), 8, 0),
        ("stages.0.0.body.conv1", "Conv2d", (4, 8, 8), 144, 9216),
        ("stages.0.0.body.norm1", "BatchNorm2d", (4, 8, 8), 8, 0),
        ("head.classifier", "Linear", (10,), 50, 40),
    ]


def test_the_peak_of_a_chain_without_shortcuts():
    stage = {"block": "single", "blocks": 1, "channels": 4, "shortcut": {"kind": "none"}}
    wide = spec(stage | {"channels": 32}, image_size=8, stem={"channels": 2})
    assert budget.price(card(wide)).peak_activation_bytes == 4 * 64 * (3 + 2 + 32 + 32)
    first = spec(stage, image_size=8, stem={"channels": 32})
    assert budget.price(card(first)).peak_activation_bytes == 4 * 64 * (3 + 32 + 32)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SPECS)
def test_other_counters_agree(found):
    cost = budget.price(card(found))
    model = build(found).eval()
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(torch.zeros(1, found.in_channels, found.image_size, found.image_size))
    assert flops.get_total_flops() == 2 * cost.macs
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())
    assert cost.params == sum(layer.params for layer in cost.layers)
    state = model.state_dict().values()
    assert cost.size_mb == sum(value.numel() * value.element_size() for value in state) / 2**20
    assert cost.peak_activation_bytes == real_peak(model, found)
    for name in budget.MEASURES:
        assert budget.measure(card(found), name) == getattr(cost, name), name


def test_the_predicted_bytes_are_those_of_the_written_file(tmp_path):
    for name in ("snugnet/digits", "snugnet/quickstart", "patil25/resnetsmall"):
        planned = pipeline.planned_card(recipe.load(name).experiment)
        size = artifact.write(tmp_path / "x", planned, build(planned.model))
        assert size == (tmp_path / "x").stat().st_size == budget.price(planned).bytes_fp32, name


def test_frozen_weights_count_and_tied_ones_once():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    model[0].requires_grad_(False)
    assert budget.count_params(model) == 12 + 12 + 6
    model[1].weight = model[0].weight
    assert budget.count_params(model) == 12 + 3 + 6


@pytest.mark.parametrize(
    ("name", "used", "below", "words"),
    [
        ("params", 318, 317, "the design is 318 parameters, 1 over the budget of 317"),
        ("macs", 16_168, 16_167, "the design is 16,168 MACs, 1 over the budget of 16,167"),
        ("peak_activation_bytes", 3840, 3839, "the design is 3,840 B, 1 B over the budget of 3,839 B"),
        ("size_mb", 1352 / 2**20, 1351 / 2**20,
         "the design is 0.001289 MB, 0.000001 MB over the budget of 0.001288 MB"),
    ],
)  # fmt: skip
def test_the_boundary_is_exact_to_one(name, used, below, words):
    cost = budget.price(card(SMALL))
    budget.check(cost, Budget(**{name: used}))
    with pytest.raises(OverBudget) as caught:
        budget.check(cost, Budget(**{name: below}))
    assert str(caught.value) == words
    assert budget.excess(cost, Budget(**{name: below})) == {name: used - below}


def test_the_boundary_of_bytes():
    cost = budget.price(card(SMALL))
    budget.check(cost, Budget(bytes=cost.bytes), "x")
    with pytest.raises(OverBudget, match=rf"^x is {cost.bytes:,} B, 1 B over the budget of {cost.bytes - 1:,} B$"):
        budget.check(cost, Budget(bytes=cost.bytes - 1), "x")
    budget.check_bytes(64_000, Budget(bytes="64kB"))
    budget.check_bytes(64_000, Budget())
    with pytest.raises(OverBudget, match=r"^artifact is 64,001 B, 1 B over the budget of 64,000 B$"):
        budget.check_bytes(64_001, Budget(bytes="64kB"))


def test_a_floor_and_several_excesses_are_said_together():
    cost = budget.price(card(SMALL))
    budget.check(cost, Budget(params=318, floor={"params": 318}))
    with pytest.raises(OverBudget) as caught:
        budget.check(cost, Budget(params=300, macs="16k", floor={"bytes": cost.bytes + 1}))
    assert str(caught.value).splitlines() == [
        "the design is 318 parameters, 18 over the budget of 300",
        "the design is 16,168 MACs, 168 over the budget of 16,000",
        f"the design is {cost.bytes:,} B, 1 B under the floor of {cost.bytes + 1:,} B",
    ]


def test_limits_as_people_write_them():
    assert Budget(params="5M", bytes="64kB", size_mb=0.5).limits() == {
        "params": 5_000_000, "bytes": 64_000, "size_mb": 0.5
    }  # fmt: skip
    assert Budget().limits() == {}
    for wrong in ({"params": True}, {"params": [5]}, {"params": 0}, {"bytes": "5M"}, {"floor": {"parms": 1.0}}):
        with pytest.raises(ValidationError):
            Budget(**wrong)


def test_resnet18_under_five_million():
    planned = pipeline.planned_card(recipe.load("baseline/resnet18").experiment)
    cost = budget.price(planned)
    assert budget.excess(cost, Budget(params="5M")) == {"params": 6_173_962}
    with pytest.raises(OverBudget, match=r"^it is 11,173,962 parameters, 6,173,962 over the budget of 5,000,000$"):
        budget.check(cost, Budget(params="5M"), "it")
