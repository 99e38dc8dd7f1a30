"""Learning in rounded numbers."""

from __future__ import annotations

import pytest
import torch
from nets import FORMATS, RICH, images, taken_apart
from torch.nn import functional as F

from snugnet.compress.config import QuantizeConfig
from snugnet.compress.graph import structure
from snugnet.compress.integer import module
from snugnet.compress.quantize import quantized
from snugnet.compress.training import Rounded, blank
from specs import spec


def learner(found, **values):
    config = QuantizeConfig.parse(values)
    _, graph, weights = taken_apart(found)
    return Rounded(quantized(graph, weights, [images(found)], config), weights)


@pytest.mark.parametrize("values", FORMATS)
def test_it_computes_what_will_ship(values):
    model, shown = learner(RICH, **values), images(RICH)
    with torch.no_grad():
        learned, ships = model(shown), module(model.quantized())(shown)
    tolerance = 1e-5 if values.get("activations") == "float" else 0.05 * float(learned.abs().max())
    assert float((learned - ships).abs().max()) <= tolerance


def test_every_weight_learns_and_what_ships_changes():
    model, shown = learner(RICH, weights="int4"), images(RICH, 16)
    before = model.quantized()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    labels = torch.arange(16) % 10
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(shown), labels)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert losses[-1] < losses[0]
    after = model.quantized()
    assert any(not torch.equal(after.codes[name].codes, codes.codes) for name, codes in before.codes.items())
    assert after.ranges == before.ranges


def test_gradients_pass_what_is_rounded_and_end_where_it_is_cut():
    model = learner(spec(image_size=8), activations="float")
    name = "stem_conv"
    weight = model.weights[name]
    weight.data[0, 0, 0, 0] = 3 * weight.abs().max()
    model._weight(name).sum().backward()
    assert float(weight.grad[0, 0, 0, 0]) == 0.0
    is_cut = (weight / model._codes(name).steps()).abs() > 127.5
    assert torch.equal(weight.grad == 0, is_cut)
    torch.testing.assert_close(weight.grad[~is_cut], torch.ones(int((~is_cut).sum())))


@pytest.mark.parametrize("values", FORMATS)
def test_a_state_holds_all_of_it(values):
    model, shown = learner(RICH, **values), images(RICH)
    again = blank(structure(RICH), QuantizeConfig.parse(values))
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again(shown), model(shown))
    assert torch.equal(module(again.quantized())(shown), module(model.quantized())(shown))
