"""Transformers on maps: the net that is written by hand, what it costs, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from snugnet import artifact, design, recipe
from snugnet.artifact import Card
from snugnet.budget import Budget, count_params, price
from snugnet.compress import channels, integer, memory_plan
from snugnet.compress.config import Quantization, QuantizeConfig
from snugnet.compress.graph import folded, structure
from snugnet.compress.quantize import quantized
from snugnet.compress.training import Rounded
from snugnet.errors import RecipeError, UsageError
from snugnet.models.resnet import build
from snugnet.ship.rounding import FORMATS, suited
from specs import card, spec

SMALL = {"image_size": 8, "activation": "gelu"}
BLOCK = {"block": "transformer", "blocks": 2, "channels": 12, "heads": 3, "inner": 20, "positions": True}
NET = spec(BLOCK, stem={"pool": {}}, head={"pool": "attention"}, **SMALL)


def lively(found):
    torch.manual_seed(0)
    model = build(found).eval()
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, 1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
    return model.requires_grad_(False)


def test_the_net_is_the_one_written_by_hand():
    model, images = lively(NET), torch.randn(2, 3, 8, 8)
    w = dict(model.named_parameters())
    tokens = (model.stem(images) + w["stages.0.0.weight"]).flatten(2).transpose(1, 2)  # (N, places, channels)
    assert tokens.shape == (2, 16, 12)
    for block in ("stages.0.1", "stages.0.2"):

        def linear(x, name, block=block):
            return F.linear(x, w[f"{block}.body.{name}.weight"].flatten(1), w.get(f"{block}.body.{name}.bias"))

        def norm(x, name):
            return F.layer_norm(x, (12,), w[f"{name}.weight"], w[f"{name}.bias"])

        qkv = linear(norm(tokens, f"{block}.body.norm1"), "attention.0")
        queries, keys, values = (part.unflatten(2, (3, 4)).transpose(1, 2) for part in qkv.split(12, dim=2))
        shares = (queries @ keys.transpose(2, 3) / 4**0.5).softmax(3)
        tokens = tokens + linear((shares @ values).transpose(1, 2).flatten(2), "attention.2")
        inner = F.gelu(linear(norm(tokens, f"{block}.body.norm2"), "inner.0"))
        tokens = tokens + linear(inner, "inner.2")
    tokens = norm(tokens, "stages.0.2.activation")
    scores = F.linear(tokens, w["head.pool.score.weight"].flatten(1), w["head.pool.score.bias"]).softmax(1)
    pooled = (tokens * scores).sum(1)
    torch.testing.assert_close(model(images), F.linear(pooled, w["head.classifier.weight"], w["head.classifier.bias"]))


def test_what_it_costs():
    """Of 12 channels and 16 places: each block takes 12 x 36 + 12 x 12 + 2 x 12 x 20 products a place, and attention
    2 x 12 x 16^2; the pool 12 a place for scores and as many for the mean."""
    cost = price(card(NET))
    assert cost.macs == 27 * 12 * 64 + 2 * (16 * (432 + 144 + 480) + 2 * 12 * 256) + 16 * (12 + 12) + 120
    block = 3 * 12 * 12 + 12 * 12 + 12 + 12 * 20 + 20 + 20 * 12 + 12 + 4 * 12
    assert cost.params == 27 * 12 + 24 + 12 * 16 + 2 * block + 24 + 13 + 130
    assert sum(layer.params for layer in cost.layers) == cost.params
    assert cost.ram_bytes is None
    floats = card(NET).model_copy(update={"quantization": Quantization(activations="float")})
    assert cost.bytes_int8 == artifact.predict_bytes(floats)


@pytest.mark.parametrize(
    ("name", "least", "most"), [("cct-7-3x1", 3.7e6, 3.8e6), ("cct-2-3x2", 0.28e6, 0.3e6), ("hybrid", 0.3e6, 0.5e6)]
)
def test_the_parameters_of_the_recipes(name, least, most):
    assert least < price(card(recipe.load(f"snugnet/{name}").experiment.model)).params < most


@pytest.mark.parametrize(
    "weights", [{"weights": "int8"}, {"weights": "int4", "group": 8}, {"weights": "float16"}], ids=str
)
def test_its_weights_ship_as_integers(tmp_path: Path, weights):
    model, graph = lively(NET), structure(NET)
    config = QuantizeConfig.parse(weights | ({} if weights["weights"] == "float16" else {"activations": "float"}))
    whole = Card.parse({**card(NET).plain(), "quantization": config.shipped.plain()})
    given = (
        model if weights["weights"] == "float16" else quantized(graph, folded(graph, model.state_dict()), [], config)
    )
    assert artifact.write(tmp_path / "x", whole, given) == artifact.predict_bytes(whole)
    read, images = artifact.read(tmp_path / "x").model, torch.randn(8, 3, 8, 8)
    wanted = model(images)
    assert float((read(images) - wanted).norm() / wanted.norm()) < (0.15 if "group" in weights else 0.02)
    if given is not model:
        torch.testing.assert_close(read(images), integer.module(given)(images))


def test_what_integers_do_not_compute():
    model, graph = lively(NET), structure(NET)
    weights = folded(graph, model.state_dict())
    words = (
        r"^quantize.activations: must be 'float' for a net with positions, which is not computed in integers; got "
        r"'int8'; weights may be int8 or int4 all the same$"
    )
    with pytest.raises(RecipeError, match=words):
        quantized(graph, weights, [], QuantizeConfig())
    with pytest.raises(RecipeError, match=words):
        artifact.predict_bytes(card(NET).model_copy(update={"quantization": Quantization()}))
    net = quantized(graph, weights, [], QuantizeConfig(activations="float"))
    with pytest.raises(RecipeError, match=r"^quantize.train: must be left out for a net with positions, which is not "):
        Rounded(net, weights)
    with pytest.raises(RecipeError, match=r"^model: has no arena: positions at .* is not computed in integers$"):
        memory_plan.plan(graph)
    with pytest.raises(UsageError, match=r"^model.stages.0: block = 'transformer': channels cannot be pruned there; "):
        channels.follow(NET)


def test_compressing_keeps_its_activations():
    assert suited(FORMATS["int8"], NET).activations == "float"
    assert suited(FORMATS["int8"], spec()) == FORMATS["int8"]
    assert suited(FORMATS["float16"], NET) == FORMATS["float16"]


def test_shared_transformers_have_norms_of_their_own():
    once, thrice = (spec(BLOCK | {"blocks": 2, "repeat": n}, **SMALL) for n in (1, 3))
    params = [count_params(build(found)) for found in (once, thrice)]
    assert params[1] - params[0] == 2 * 2 * 2 * 12  # two more uses, two norms each


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        ("heads and positions belong to transformer; got basic", [{"blocks": 1, "channels": 4, "heads": 2}]),
        ("transformer has neither shortcut, blur nor kernel, and at least one block; leave them out",
         [BLOCK | {"kernel": 5}]),
        ("stages.1: transformer keeps width and size, but reads 8 channels with stride 1 to give 12; give the stage an "
         "entry, or what comes before it the same channels", [["basic", 1, 8], BLOCK]),
        ("stages.0: transformer keeps width and size, but reads 12 channels with stride 2 to give 12; give",
         [BLOCK | {"stride": 2}]),
    ],
)  # fmt: skip
def test_shapes_that_it_does_not_keep(words, stages):
    with pytest.raises(ValidationError) as caught:
        spec(*stages)
    assert words in str(caught.value)


def test_a_design_widens_no_transformer_away_from_what_it_reads():
    """Behind a plain stage, which rounds by itself, most multipliers are impossible; behind an entry none is."""
    block = {"block": "transformer", "blocks": 1, "channels": 12}
    tied, free = (spec(["basic", 1, 12], block | more, **SMALL) for more in ({}, {"entry": {}}))
    assert design.largest_width(card(tied), Budget(params="20k")) is None
    width = design.largest_width(card(free), Budget(params="20k"))
    assert width
    assert 18_000 < count_params(build(free.replaced(width=width))) <= 20_000


def test_widths_are_multiples_of_its_heads():
    found = spec({**BLOCK, "entry": {}}, width=0.6, **SMALL)
    assert found.channels(0) == 6
    assert found.sizes_in(0) == 8
