import torch
from torch import nn

from snugnet.train.ema import Ema, EmaConfig, NoEma


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def walked(ema, model, steps, seen):
    for step in range(1, steps + 1):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model[1].running_mean.fill_(step)
        model[1].num_batches_tracked.fill_(step)
        ema.update(step)
        seen(step)


def test_the_law_step_by_step():
    model = net()
    ema = Ema(model, EmaConfig(decay=0.7))
    expected = {name: value.double().clone() for name, value in model.state_dict().items()}

    def follow(step):
        decay = min(0.7, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            expected[name] += (1 - decay) * (value.double() - expected[name])

    walked(ema, model, 40, follow)
    for name, value in ema.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-5)
    assert ema.model[1].num_batches_tracked == 40
    assert not torch.equal(ema.model[0].weight, model[0].weight)


def test_several_steps_at_once_decay_as_much():
    model = net()
    ema = Ema(model, EmaConfig(decay=0.5, every=3))
    expected = model[0].weight.detach().clone()

    def follow(step):
        nonlocal expected
        if step % 3:
            assert torch.equal(ema.model[0].weight, expected)
            return
        decay = min(0.5**3, (1 + step // 3) / (10 + step // 3))
        expected = expected + (1 - decay) * (model[0].weight.detach() - expected)
        torch.testing.assert_close(ema.model[0].weight, expected)
        expected = ema.model[0].weight.clone()

    walked(ema, model, 20, follow)


def test_the_average_neither_learns_nor_follows_by_reference():
    model = net()
    ema = Ema(model, EmaConfig())
    assert not ema.model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    before = ema.model[0].weight.clone()
    with torch.no_grad():
        model[0].weight.add_(1)
    assert torch.equal(ema.model[0].weight, before)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_loaded_into_the_net_are_followed():
    model, other = net(), net()
    ema = Ema(model, EmaConfig(decay=0.0))
    with torch.no_grad():
        other[0].weight.add_(1)
    model.load_state_dict(other.state_dict())
    ema.update(1)
    assert torch.equal(ema.model[0].weight, other[0].weight)


def test_no_average_is_the_net():
    model = net()
    off = NoEma(model)
    off.update(1)
    assert off.model is model
