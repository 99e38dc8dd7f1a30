"""`train.compile`: the same loss and gradients, by torch.compile; what it is compiled for, and what it needs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snugnet.device import Compute
from snugnet.errors import MissingExtra
from snugnet.train import compiling
from snugnet.train.config import TrainConfig
from snugnet.train.loop import Learner

CPU = Compute(torch.device("cpu"), "fp32")


def learned(**options: Any) -> list[Tensor]:
    """The loss of a batch and the gradients it leaves."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    learner = Learner(net, TrainConfig.parse({"epochs": 1, "accumulate": 2, **options}), CPU)
    loss = learner.gradients(torch.randn(16, 3, 4, 4), torch.arange(16) % 5)
    return [loss, *(weight.grad for weight in learner.weights if weight.grad is not None), *net.buffers()]


def test_dynamo_s_step_is_ours(monkeypatch: pytest.MonkeyPatch):
    """Traced for training, its kernels left to torch: what a recipe's steps are made of is understood whole."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda step, **_: real(step, backend="aot_eager", fullgraph=True))
    for ours, traced in zip(learned(), learned(compile=True), strict=True):
        torch.testing.assert_close(ours, traced)


@pytest.mark.slow
def test_a_compiled_step_is_ours():
    for ours, compiled in zip(learned(), learned(compile=True), strict=True):
        torch.testing.assert_close(ours, compiled)


def test_on_a_card_a_step_is_one_graph(monkeypatch: pytest.MonkeyPatch):
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda step, **options: asked.append(options) or step)
    for device in ("cuda", "cpu"):
        compiling.build(torch.sum, True, torch.device(device))
    assert asked == [{"dynamic": False, "mode": "reduce-overhead"}, {"dynamic": False}]


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-c++")
    words = r"^train\.compile: torch\.compile needs a C\+\+ compiler, and there is no no-such-c\+\+; install g\+\+, or "
    with pytest.raises(MissingExtra, match=words):
        learned(compile=True)
    assert compiling.build(torch.sum, False, CPU.device) is torch.sum
