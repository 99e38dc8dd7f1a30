import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from snugnet import checkpoint
from snugnet.models.resnet import build
from snugnet.train import optim
from snugnet.train.optim import OptimizerConfig
from specs import spec


def net(**options):
    torch.manual_seed(0)
    found = spec(["basic", 1, 4], ["basic", 1, 8], image_size=8, **options)
    return build(found).to(memory_format=torch.channels_last)


def learn(model, optimizer, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        images = torch.randn(8, 3, 8, 8, generator=random).to(memory_format=torch.channels_last)
        nn.functional.cross_entropy(model(images), torch.arange(8)).backward()
        optimizer.step()
        optimizer.zero_grad()


CONFIGS = [
    OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    OptimizerConfig(name="sgd", lr=0.1, momentum=0.0),
    OptimizerConfig(name="adamw", lr=0.01, weight_decay=1e-2, decay_all=False),
]


def plain_rule(config):
    """The same optimiser, unfused, by torch."""

    def make(model):
        groups = optim.groups(model, config)
        if config.name == "adamw":
            return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)

    return make


@pytest.mark.parametrize("config", CONFIGS)
def test_torch_s_plain_optimiser_goes_the_same_way(config):
    model, other = net(), net()
    learn(model, optim.build(model, config), 3)
    learn(other, plain_rule(config)(other), 3)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS)
def test_state_from_a_file_goes_on_bitwise_in_the_layout_of_the_weights(config, tmp_path):
    model = net()
    optimizer = optim.build(model, config)
    learn(model, optimizer, 3)
    checkpoint.write(tmp_path / "state", {"optimizer": optimizer.state_dict()})
    again = copy.deepcopy(model)
    loaded = optim.build(again, config)
    optim.load_state(loaded, checkpoint.read(tmp_path / "state")["optimizer"])
    moments = 0
    for parameter, values in loaded.state.items():
        for value in values.values():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                assert value.stride() == parameter.stride()
                moments += 1
    assert moments == config.state_tensors * len(list(again.parameters()))
    assert any(not parameter.is_contiguous() for parameter in again.parameters())
    learn(model, optimizer, 2, seed=1)
    learn(again, loaded, 2, seed=1)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))


def test_weight_decay_is_on_all_or_on_weights_of_two_axes():
    model = net()
    (everything,) = optim.groups(model, OptimizerConfig(weight_decay=0.1))
    assert everything["weight_decay"] == 0.1
    assert len(everything["params"]) == len(list(model.parameters()))
    decayed, free = optim.groups(model, OptimizerConfig(weight_decay=0.1, decay_all=False))
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert {named[id(p)].rsplit(".", 2)[-1] for p in decayed["params"]} == {"weight"}
    assert all("norm" in named[id(p)] or named[id(p)].endswith("bias") for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(named)


def test_frozen_filters_never_move():
    model = net(stem={"kernel": 2, "padding": 0, "channels": 4, "whiten": True})
    before = model.stem[0].weight.clone()
    bias = model.stem[0].bias.clone()
    learn(model, optim.build(model, OptimizerConfig(weight_decay=0.5)), 2)
    assert torch.equal(model.stem[0].weight, before)
    assert not torch.equal(model.stem[0].bias, bias)


def test_nesterov_needs_momentum():
    with pytest.raises(ValidationError, match=r"nesterov needs momentum above 0; got momentum = 0"):
        OptimizerConfig(momentum=0.0, nesterov=True)
