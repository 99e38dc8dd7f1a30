"""Nets of the papers against the same nets written by hand, in plain PyTorch, on the same weights."""

import pytest
import torch
from torch.nn import functional as F

from snugnet import budget, recipe
from snugnet.models.resnet import build, build_meta
from specs import card, spec


class Weights:
    """The tensors of a net by name, and the layers that read them; norms by their running statistics."""

    def __init__(self, model):
        self.of = model.state_dict()

    def conv(self, x, name, stride=1, padding=0):
        return F.conv2d(x, self.of[f"{name}.weight"], self.of.get(f"{name}.bias"), stride, padding)

    def norm(self, x, name):
        mean, var, weight, bias = (self.of[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    def skip(self, x, name, stride=1):
        """tu24's SkipConv."""
        return self.norm(self.conv(x, f"{name}.conv", stride), f"{name}.norm")

    def basic(self, x, name, stride=1):
        x = F.relu(self.norm(self.conv(x, f"{name}.conv1", stride, 1), f"{name}.norm1"))
        return self.norm(self.conv(x, f"{name}.conv2", 1, 1), f"{name}.norm2")

    def linear(self, x, name):
        return F.linear(x, self.of[f"head.{name}.weight"], self.of[f"head.{name}.bias"])

    def fc_head(self, x):
        return self.linear(F.relu(self.norm(self.linear(x.flatten(1), "hidden1"), "head.norm1")), "classifier")

    def gap_head(self, x):
        return self.linear(x.mean((2, 3)), "classifier")


def base(w, x, *, skip=False):
    first = F.max_pool2d(F.relu(w.basic(x, "stages.0.0.body") + w.skip(x, "stages.0.0.shortcut")), 2)
    second = w.basic(first, "stages.1.0.body") + w.skip(first, "stages.1.0.shortcut")
    if skip:
        second = second + w.skip(x, "stages.1.0.skips.1", stride=2)
    return w.fc_head(F.max_pool2d(F.relu(second), 2))


def v2(w, x):
    return base(w, x, skip=True)


def fire(w, x):
    for name, pooled in (("0.0", 1), ("1.0", 1), ("2.0", 0), ("2.1", 0), ("2.2", 0)):
        name = f"stages.{name}"
        squeezed = F.relu(w.norm(w.conv(x, f"{name}.body.squeeze.conv"), f"{name}.body.squeeze.norm"))
        one = w.norm(w.conv(squeezed, f"{name}.body.expand.0.conv"), f"{name}.body.expand.0.norm")
        three = w.norm(w.conv(squeezed, f"{name}.body.expand.1.conv", padding=1), f"{name}.body.expand.1.norm")
        x = F.relu(torch.cat([one, three], 1) + w.skip(x, f"{name}.shortcut"))
        x = F.max_pool2d(x, 2) if pooled else x
    return w.fc_head(x)


def alpha(w, x):
    """Strides of the skips as the paper's net has them: from 32 to 16 and to 8, from 16 to 8, and among 8."""
    sides = {1: 32, 2: 16, 3: 8, 4: 8, 5: 8, 6: 8}
    inputs = {}
    for k, name in enumerate(("0.0", "1.0", "2.0", "3.0", "3.1", "4.0"), 1):
        inputs[k] = x
        agree = name == "3.1"
        y = w.basic(x, f"stages.{name}.body") + (x if agree else w.skip(x, f"stages.{name}.shortcut"))
        for j in range(1, k):
            y = y + w.skip(inputs[j], f"stages.{name}.skips.{j}", stride=sides[j] // sides[k])
        x = F.relu(y)
        x = F.max_pool2d(x, 2) if k <= 2 else x
    return w.gap_head(x)


def preact(w, x):
    x = F.relu(w.norm(w.conv(x, "stem.conv", padding=1), "stem.norm"))
    for stage, blocks in enumerate((3, 6, 4, 3)):
        for block in range(blocks):
            name, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            y = w.conv(F.relu(w.norm(x, f"{name}.body.norm1")), f"{name}.body.conv1", stride, 1)
            y = w.conv(F.relu(w.norm(y, f"{name}.body.norm2")), f"{name}.body.conv2", 1, 1)
            x = y + (w.skip(x, f"{name}.shortcut", stride) if stride == 2 else x)
    return w.gap_head(F.relu(x))


def two_by_two(w, x, *, pools):
    x = F.relu(w.norm(w.conv(x, "stem.conv", padding=1), "stem.norm"))
    for stage in range(4):
        for block in range(2):
            name, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            y = w.conv(x, f"{name}.body.conv1", stride, 1)
            y = F.avg_pool2d(y, 2, 1) if pools else y
            y = F.relu(w.norm(y, f"{name}.body.norm1"))
            y = w.conv(y, f"{name}.body.conv2", 1, 1 if pools else 0)
            y = F.avg_pool2d(y, 2, 1) if pools else y
            y = w.norm(y, f"{name}.body.norm2")
            x = F.relu(y + (w.conv(x, f"{name}.shortcut", 2) if stride == 2 else x))
    return w.gap_head(x)


def design_1(w, x):
    return two_by_two(w, x, pools=False)


def design_2(w, x):
    return two_by_two(w, x, pools=True)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("tu24/base", base),
        ("tu24/v2", v2),
        ("tu24/v3", fire),
        ("tu24/alpha", alpha),
        ("avvari24/preact-32-64-128-256", preact),
        ("aswani22/row1-kernel2-padding", design_1),
        ("aswani22/row6-kernel2-avgpool", design_2),
    ],
)
@torch.no_grad()
def test_the_net_is_the_one_written_by_hand(name, by_hand):
    torch.manual_seed(0)
    model = build(recipe.load(name).experiment.model.replaced(width=0.25 if "tu24" not in name else 1.0))
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):  # norms that do something
            for value in (module.running_mean, module.bias):
                value.normal_(0, 0.2)
            for value in (module.running_var, module.weight):
                value.uniform_(0.5, 1.5)
    images = torch.randn(2, 3, 32, 32)
    logits = model.eval()(images)
    assert logits.std() > 1e-3
    assert (logits - by_hand(Weights(model), images)).abs().max() < 1e-5


def params(name, *overrides):
    return budget.count_params(build_meta(recipe.load(name, overrides).experiment.model))


def test_the_skips_of_alpha():
    """15 of them, 11,270 parameters: o(i + 3) each, from the input of every earlier block."""
    model = build_meta(recipe.load("tu24/alpha").experiment.model)
    skips = {name: module for name, module in model.named_modules() if ".skips." in name and name[-1].isdecimal()}
    into, out = (3, 10, 20, 30, 40, 40), (10, 20, 30, 40, 40, 50)
    by_hand = [out[k] * (into[j] + 3) for k in range(1, 6) for j in range(k)]
    assert [budget.count_params(module) for module in skips.values()] == by_hand
    assert (len(by_hand), sum(by_hand)) == (15, 11_270)
    assert params("tu24/alpha") - params("tu24/alpha", "model.skips=[]") == 11_270
    strides = [module.conv.stride[0] for module in skips.values()]
    assert strides == [2, 4, 2, 4, 2, 1, 4, 2, 1, 1, 4, 2, 1, 1, 1]


def test_blocks_of_tu24_have_the_parameters_of_its_formulas():
    def block(i, o, **stage):
        table = {"blocks": 1, "channels": o, "stride": 1, **stage}
        net = spec(table, in_channels=i, stem="none", conv_bias=True, image_size=8)
        return budget.count_params(build_meta(net).stages[0])

    always = {"shortcut": {"kind": "always"}}
    assert block(10, 20) == 10 * 10 * 20 + 9 * 20**2 + 9 * 20
    assert block(20, 20) == 18 * 20**2 + 6 * 20
    i, q, e1, e3 = 12, 8, 5, 15
    expected = q * (i + 3) + e1 * (q + 3) + e3 * (9 * q + 3) + (i + 3) * (e1 + e3)
    assert block(i, 20, block="fire", inner=q, expand=[e1, e3], **always) == expected
    assert block(10, 20, block="depthwise", **always) == 12 * 10 + 2 * 10 * 20 + 6 * 20
    expected = 10 * 20 + 10 * 8 + 9 * 8**2 + 6 * 8 + 8 * 20 + 6 * 20
    assert block(10, 20, block="bottleneck", inner=8, **always) == expected
    assert params("tu24/base") - sum((block(3, 10), block(10, 20))) == 129_310


def test_the_peak_of_alpha_by_hand():
    """Block 1, when its shortcut is added: the image, which skips read later, and the body, the shortcut, their sum.
    Before the sum the third map is the shortcut's convolution."""
    found = recipe.load("tu24/alpha").experiment.model
    image, map_1 = 4 * 3 * 32**2, 4 * 10 * 32**2
    assert budget.price(card(found)).peak_activation_bytes == image + 3 * map_1 == 135_168


def test_a_map_is_let_go_of_after_its_last_skip():
    """A channel of a map is 64 bytes; blocks are single convolutions of 1 channel without shortcut, the last of 16."""
    stage = {"block": "single", "blocks": 1, "channels": 1, "stride": 1, "shortcut": {"kind": "none"}}
    wide = stage | {"channels": 16}
    net = {"in_channels": 4, "image_size": 4, "stem": "none"}
    short = spec(stage, stage, wide, skips=[{"from": 1, "to": 2}], **net)
    long = spec(stage, stage, wide, skips=[{"from": 1, "to": 3}], **net)
    image, narrow, broad = 64 * 4, 64, 64 * 16
    peaks = [budget.measure(card(found), "peak_activation_bytes") for found in (short, long)]
    caller = image  # whoever asks for the logits holds the image
    assert peaks[0] == caller + narrow + 2 * broad
    assert peaks[1] == caller + narrow + 3 * broad  # the body, the skip's convolution and its norm
