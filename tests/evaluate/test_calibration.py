"""The verdict, held against nets whose truth is known; the temperature, against another way to find it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from snugnet.evaluate.calibration import describe, error_by_chance, temperature
from snugnet.evaluate.metrics import calibration_error, negative_log_likelihood


def truthful(images=4000, classes=10, seed=0, spread=2.0):
    """Logits whose probabilities are true: labels are drawn from them."""
    random = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(images, classes, generator=random, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 9), st.sampled_from([0.2, 1.0, 5.0]), st.booleans())
def test_temperature_is_where_scipy_finds_the_least_loss(seed, classes, spread, rounded):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=60)
    logits = spread * (random.normal(size=(60, classes)) + 1.2 * np.eye(classes)[labels])
    logits = logits.round() if rounded else logits
    best = temperature(torch.tensor(logits), torch.tensor(labels))
    own = logits[np.arange(60), labels]

    def loss(log_t):
        return np.mean(logsumexp(logits / np.exp(log_t), axis=1) - own / np.exp(log_t))

    found = minimize_scalar(loss, bounds=(-8, 8), method="bounded", options={"xatol": 1e-10})
    if best is None:
        assert (own >= logits.max(1)).all() or own.mean() <= logits.mean()
    else:
        assert loss(np.log(best)) <= found.fun + 1e-12
        if found.x < 3:  # beyond, the loss is flat
            assert np.log(best) == pytest.approx(found.x, abs=1e-4)


@pytest.mark.parametrize("factor", [1e-9, 0.1, 1.0, 3.0, 1e9])
def test_a_factor_on_true_logits_is_found_again(factor):
    logits, labels = truthful()
    assert temperature(factor * logits, labels) == pytest.approx(factor * temperature(logits, labels), rel=1e-9)
    assert temperature(logits, labels) == pytest.approx(1, abs=0.05)


def test_no_temperature_where_none_is_best():
    labels = torch.tensor([0, 1, 2])
    assert temperature(torch.eye(3), labels) is None  # right throughout: surer is always better
    assert temperature(torch.zeros(3, 3), labels) is None  # a tie is no mistake
    assert temperature(-torch.eye(3), labels) is None  # the label is always the least likely
    assert temperature(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])) is None  # worth as much as chance
    nearly = torch.eye(3) * torch.tensor([[1.0], [1.0], [-1e-6]])
    assert 0 < temperature(nearly, labels) < 1


def test_a_temperature_never_raises_the_loss_it_was_fitted_on():
    logits, labels = truthful(seed=3)
    best = temperature(2.5 * logits, labels)
    assert negative_log_likelihood(2.5 * logits / best, labels) < negative_log_likelihood(2.5 * logits, labels)


@pytest.mark.parametrize(
    ("factor", "verdict", "direction"),
    [
        (1.0, "yes", None),
        (1.05, "nearly", "overconfident"),
        (3.0, "no", "overconfident"),
        (0.3, "no", "underconfident"),
    ],
)
def test_the_verdict_knows_the_truth(factor, verdict, direction):
    logits, labels = truthful(100_000)
    got = describe(factor * logits, labels)
    assert got.calibrated == verdict
    assert direction in (None, got.direction)
    right = (logits.argmax(1) == labels).double().mean().item()
    assert got.confidence == pytest.approx((factor * logits).softmax(1).amax(1).mean().item())
    assert sum(b.images for b in got.bins) == 100_000
    assert sum(b.images * b.accuracy for b in got.bins) == pytest.approx(100_000 * right)


def test_gaps_that_cancel_are_mixed():
    chances = torch.tensor([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = torch.tensor([0] * 5 + [1] * 5 + [0] * 9 + [1])
    got = describe(chances.log(), labels)
    assert (got.calibrated, got.direction) == ("no", "mixed")
    assert (got.worst_bin.low, got.worst_bin.images) == (pytest.approx(0.8 + 1 / 15), 10)


def test_luck_covers_nineteen_of_twenty_truthful_nets():
    errors = [calibration_error(*truthful(500, seed=seed)) for seed in range(200)]
    limits = [error_by_chance(truthful(500, seed=seed)[0]) for seed in range(10)]
    assert 0.9 < np.mean([error <= np.mean(limits) for error in errors]) < 0.99
    assert max(limits) < 1.2 * min(limits)
