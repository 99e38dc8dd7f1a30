"""Gradients are cut each by itself, then scaled down together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snugnet.device import Compute
from snugnet.train.config import TrainConfig
from snugnet.train.loop import Learner

CPU = Compute(torch.device("cpu"), "fp32")


def gradients(**clips: float) -> Tensor:
    """All of them in one row, for the same net and batch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 7), nn.ReLU(), nn.Linear(7, 5))
    learner = Learner(model, TrainConfig.parse({"epochs": 1, **clips}), CPU)
    learner.gradients(torch.randn(16, 3, 4, 4), torch.arange(16) % 5)
    return torch.cat([weight.grad.flatten() for weight in learner.weights if weight.grad is not None])


def test_by_value_each_is_cut_to_the_bound():
    free = gradients()
    bound = free.abs().median().item()
    cut = gradients(clip_value=bound)
    assert torch.equal(cut, free.clamp(-bound, bound))
    assert 0.4 < (cut.abs() == bound).float().mean() < 0.6
    assert torch.equal(gradients(clip_value=free.abs().max().item()), free)


def test_by_norm_all_are_scaled_by_one_factor():
    free = gradients()
    scaled = gradients(clip_norm=free.norm().item() / 4)
    torch.testing.assert_close(scaled, free / 4)
    torch.testing.assert_close(gradients(clip_norm=2 * free.norm().item()), free, rtol=0, atol=0)


def test_by_value_comes_first():
    cut = gradients(clip_value=0.01)
    both = gradients(clip_value=0.01, clip_norm=cut.norm().item() / 2)
    torch.testing.assert_close(both, cut / 2)
