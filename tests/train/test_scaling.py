from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from snugnet import checkpoint, device
from snugnet.device import Compute
from snugnet.train.config import TrainConfig
from snugnet.train.loop import Learner
from snugnet.train.scaling import LossScaling, NoScaling

CPU = torch.device("cpu")
IMAGES, LABELS = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


def learner(precision: device.Precision = "fp16", **settings: object) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    return Learner(model, TrainConfig.parse({"epochs": 1} | settings), Compute(CPU, precision))


def step(of: Learner, factor: float = 1.0) -> None:
    of.update.step(partial(of.gradients, IMAGES * factor, LABELS))


def weights(of: Learner) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in of.weights])


def overflow(of: Learner) -> None:
    """Makes the next gradients infinite, the loss being finite."""
    of.scaling.scaler.load_state_dict(of.scaling.scaler.state_dict() | {"scale": 1e38})


@pytest.mark.parametrize("settings", [{}, {"accumulate": 3}, {"clip_norm": 0.01}, {"optimizer": {"sam": {}}}])
def test_scaled_gradients_are_those_of_fp32(settings: dict[str, object]):
    half, full = learner(**settings), learner("fp32", **settings)
    for of in (half, full):
        step(of)
    torch.testing.assert_close(weights(half), weights(full), rtol=1e-2, atol=1e-3)
    assert not torch.equal(weights(half), weights(learner()))


def test_backward_starts_from_a_loss_scaled_up():
    seen: list[float] = []
    tops = {}
    for precision in ("fp16", "fp32"):
        found = learner(precision)
        found.model[1].register_full_backward_pre_hook(lambda _, top: seen.append(float(top[0].abs().max())))
        found.gradients(IMAGES, LABELS)
        tops[precision] = seen.pop()
    assert tops["fp16"] == pytest.approx(2**16 * tops["fp32"], rel=0.01)


@pytest.mark.parametrize(
    "optimizer", [{}, {"name": "adamw"}, {"name": "muon"}, {"sam": {}}, {"lookahead": {"k": 3}}], ids=str
)
def test_a_step_whose_gradients_overflow_is_left_out(optimizer: dict[str, object]):
    found = learner(optimizer=optimizer)
    step(found)
    before = weights(found)
    overflow(found)
    step(found)
    assert torch.equal(weights(found), before)
    assert found.scaling.scaler.get_scale() < 1e38
    found.scaling.scaler.load_state_dict(found.scaling.scaler.state_dict() | {"scale": 1024.0})
    step(found)
    assert not torch.equal(weights(found), before)


def test_the_scale_is_in_the_state(tmp_path):
    found = learner()
    step(found)
    overflow(found)
    step(found)
    checkpoint.write(tmp_path / "a.safetensors", found.state())
    other = learner()
    other.load(checkpoint.read(tmp_path / "a.safetensors"))
    assert other.scaling.state() == found.scaling.state()
    assert other.scaling.state()["scale"] != learner().scaling.state()["scale"]
    step(other)
    step(found)
    assert torch.equal(weights(other), weights(found))


def test_nothing_is_scaled_where_nothing_is_fp16():
    for precision in ("fp32", "bf16"):
        found = learner(precision)
        assert isinstance(found.scaling, NoScaling)
        assert found.state()["scaling"] == {}
        old = {name: value for name, value in found.state().items() if name != "scaling"}
        found.load(old)
    assert isinstance(learner("fp16").scaling, LossScaling)


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_card(monkeypatch: pytest.MonkeyPatch, bf16: bool, precision: str):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert device.choose("auto", "auto").precision == precision
    assert device.choose("auto", "fp32").precision == "fp32"


def test_auto_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device, "cpu_flags", frozenset)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name in ("cpu", "mps"):
        assert device.choose(name, "auto").precision == "fp32"
        assert device.choose(name, "fp16").precision == "fp16"
