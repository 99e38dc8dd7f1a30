"""The law of structured pruning: the smaller net says what the larger one says with the channels silenced."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snugnet import budget, recipe
from snugnet.compress import channels, prune
from snugnet.compress.prune import PruneConfig
from snugnet.models.resnet import build
from snugnet.models.spec import ModelSpec
from specs import SPECS, card, spec

SCALES_DOWN = settings(max_examples=10, deadline=None)


def trained(plain: ModelSpec, seed: int = 0) -> torch.nn.Module:
    """A net whose norms, statistics and biases are none of them at their defaults."""
    torch.manual_seed(seed)
    model = build(plain).eval()
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            value.copy_(
                torch.rand(value.shape) + 0.5 if "var" in name or "weight" in name else torch.randn(value.shape)
            )
    return model


def ranked(plain: ModelSpec, model: torch.nn.Module, config: PruneConfig):
    """Channels as settled, and the steps."""
    found = channels.follow(plain)
    images = torch.randn(6, plain.in_channels, plain.image_size, plain.image_size)
    batches = [(images, torch.arange(6) % plain.classes)]
    found, score = prune.evened(plain, found, prune.importance(found, model.state_dict(), config.by, model, batches))
    return found, prune.order(found, score, config)


@torch.no_grad()
def silenced(model: torch.nn.Module, found: channels.Channels, gone: set[int]) -> torch.nn.Module:
    """Filters, biases, scales and shifts of channels at zero: what reads them is left as it is."""
    tensors = model.state_dict()
    for name, axes in found.axes.items():
        if "running" not in name and axes[0]:
            tensors[name][torch.tensor([row in gone for row in axes[0]])] = 0
    return model


def check(plain: ModelSpec, share: float, config: PruneConfig) -> ModelSpec:
    model = trained(plain)
    found, steps = ranked(plain, model, config)
    gone = {root for step in steps[: round(share * len(steps))] for root in step.gone}
    small = prune.pruned_spec(plain, found, gone)
    assert ModelSpec.parse(small.plain()) == small
    net = build(small).eval()
    net.load_state_dict(prune.sliced(model.state_dict(), found, gone))  # every name and shape is right
    images = torch.randn(3, plain.in_channels, plain.image_size, plain.image_size)
    torch.testing.assert_close(net(images), silenced(model, found, gone)(images), rtol=1e-4, atol=1e-4)
    return small


CONFIGS = st.builds(
    PruneConfig,
    by=st.sampled_from(["bn_scale", "magnitude", "taylor"]),
    scope=st.sampled_from(["global", "uniform"]),
    multiple=st.sampled_from([1, 1, 2, 4]),
    floor=st.sampled_from([0.0, 0.5]),
)
ZERO_STAYS = SPECS.filter(lambda plain: plain.activation != "softplus")  # its channels leave a constant behind


@SCALES_DOWN
@given(ZERO_STAYS, st.floats(0, 1), CONFIGS)
def test_the_pruned_net_is_the_net_with_silent_channels(plain: ModelSpec, share: float, config: PruneConfig):
    check(plain, share, config)
