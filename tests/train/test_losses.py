"""Losses against their formulas, and those of a user's own."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from snugnet.errors import RecipeError
from snugnet.foreign import code_allowed
from snugnet.problems import explain
from snugnet.train import losses
from snugnet.train.config import TrainConfig

CPU = torch.device("cpu")


def config(loss: str = "cross_entropy", **values: object) -> TrainConfig:
    path = loss if loss == "cross_entropy" else f"own_code:{loss}"
    return TrainConfig.parse({"epochs": 1, "loss": path, **values})


def logits() -> Tensor:
    return 3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 4, 2, 2, 1, 3])
SHARES = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)).softmax(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
def test_cross_entropy_is_its_formula(targets: Tensor, smoothing: float):
    """The mean over images of -sum t log p, with t of (1 - smoothing) * targets + smoothing / classes."""
    shares = targets if targets.is_floating_point() else F.one_hot(targets, 5).float()
    smoothed = (1 - smoothing) * shares + smoothing / 5
    p = logits().double().softmax(1)
    found = losses.build(config(label_smoothing=smoothing), CPU)(logits(), targets)
    assert found.item() == pytest.approx(-(smoothed * p.log()).sum(1).mean().item(), rel=1e-5)


WEIGHTS = (0.5, 2.0, 1.0, 0.25, 4.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
class TestClassWeights:
    def loss(self, smoothing: float, targets: Tensor, weights: tuple[float, ...] = WEIGHTS) -> Tensor:
        return losses.build(config(label_smoothing=smoothing, class_weights=weights), CPU)(logits(), targets)

    def test_each_image_counts_as_its_class(self, smoothing: float):
        each = F.cross_entropy(logits(), LABELS, label_smoothing=smoothing, reduction="none")
        torch.testing.assert_close(self.loss(smoothing, LABELS), (torch.tensor(WEIGHTS)[LABELS] * each).mean())

    def test_equal_weights_are_none(self, smoothing: float):
        plain = losses.build(config(label_smoothing=smoothing), CPU)
        for targets in (LABELS, SHARES):
            torch.testing.assert_close(self.loss(smoothing, targets, (1.0,) * 5), plain(logits(), targets))

    def test_a_mixed_image_has_the_losses_of_its_classes_in_their_shares(self, smoothing: float):
        other, share = LABELS.flip(0), 0.3
        mixed = share * F.one_hot(LABELS, 5) + (1 - share) * F.one_hot(other, 5)
        wanted = share * self.loss(smoothing, LABELS) + (1 - share) * self.loss(smoothing, other)
        torch.testing.assert_close(self.loss(smoothing, mixed), wanted)


def test_balanced_weights_are_one_over_the_images_and_one_on_average():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    found = losses.weighed(config(class_weights="balanced"), labels, 3).class_weights
    assert isinstance(found, tuple)
    assert found == pytest.approx((10 / 18, 10 / 9, 10 / 3))
    assert sum(found[k] for k in labels.tolist()) / 10 == pytest.approx(1)
    given = config(class_weights=[1.0, 2.0, 3.0])
    assert losses.weighed(given, labels, 3) == given
    assert losses.weighed(config(), labels, 3) == config()


def test_class_weights_that_cannot_be_meant():
    words = (
        r"^train\.class_weights: must have a number a class, 5 in the order of their names; got 2; correct it, or give "
        r"'balanced'$"
    )
    with pytest.raises(RecipeError, match=words):
        losses.try_out(config(class_weights=[1.0, 2.0]), 5)
    losses.try_out(config(class_weights="balanced"), 5)
    with pytest.raises(ValueError, match=r"class_weights belong to cross_entropy, and own_code:Focal does not read"):
        config("Focal", class_weights="balanced")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("balaned", "class_weights: must be 'balanced' or a list with a number for each class; got 'balaned', did you"),
        (3, "class_weights: must be 'balanced' or a list with a number for each class; got 3"),
        ([1.0, -2.0], "class_weights.1: must be greater than 0; got -2.0"),
        ([1.0], "class_weights: must have at least 2 items; got 1"),
    ],
)
def test_class_weights_that_are_none(given: object, words: str):
    with pytest.raises(ValidationError) as caught:
        config(class_weights=given)
    assert [line.startswith(f"r.toml: {words}") for line in explain(caught.value, TrainConfig, "r.toml", {})] == [True]


@pytest.fixture
def _allowed():
    with code_allowed():
        yield


@pytest.mark.usefixtures("_allowed")
class TestForeign:
    def test_options_reach_it(self):
        plain, focal = (losses.build(config("Focal", loss_options={"gamma": g}), CPU) for g in (0.0, 2.0))
        wanted = F.cross_entropy(logits(), LABELS)
        graded = logits().requires_grad_()
        torch.testing.assert_close(plain(graded, LABELS), wanted)
        assert focal(graded, LABELS) < wanted

    def test_a_module_keeps_its_numbers_in_buffers(self):
        weights = [1.0, 0.0, 2.0, 0.5, 1.0]
        found = losses.build(config("Weighted", loss_options={"weights": weights}), CPU)
        wanted = F.cross_entropy(logits(), LABELS, torch.tensor(weights))
        assert torch.equal(found(logits().requires_grad_(), LABELS), wanted)

    def test_one_of_torch_s_own(self):
        given = {"loss": "torch.nn:CrossEntropyLoss", "loss_options": {"label_smoothing": 0.1}}
        theirs, ours = (TrainConfig.parse({"epochs": 1, **each}) for each in (given, {"label_smoothing": 0.1}))
        one, other = (losses.build(each, CPU)(logits().requires_grad_(), LABELS) for each in (theirs, ours))
        assert torch.equal(one, other)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("Focla", "own_code has nothing to call of the name 'Focla', did you mean 'Focal'?"),
            ("Weighted", "cannot be made with options {} (TypeError: Weighted.__init__() missing 1 required "
             "positional argument: 'weights'); correct it"),
            ("number", "must return something to call; got int"),
            ("Learned", "has parameters, which nothing would train; keep numbers in buffers"),
            ("PerImage", "must return one number, a float tensor without axes; got float32 (2,)"),
            ("Nothing", "must return one number, a float tensor without axes; got NoneType"),
            ("Right", "must be differentiable in the logits; got a value without a gradient"),
            ("NoWayBack", "has no gradient (ValueError: not written yet); correct it"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_with_one_is_said(self, name: str, words: str):
        with pytest.raises(RecipeError) as caught:
            losses.try_out(config(name), 5)
        assert str(caught.value) == f"loss own_code:{name}: {words}"

    def test_it_is_tried_on_the_targets_of_this_training_alone(self):
        for name, share in (("LabelsOnly", 0.0), ("SharesOnly", 1.0), ("Focal", 0.5)):
            losses.try_out(config(name, mix={"name": "mixup", "p": share}), 5)

    @pytest.mark.parametrize("name", ["LabelsOnly", "SharesOnly"])
    def test_where_some_batches_are_mixed_it_must_judge_both(self, name: str):
        with pytest.raises(RecipeError, match=rf"^loss own_code:{name}: cannot judge logits float32 \(2, 5\) and"):
            losses.try_out(config(name, mix={"name": "mixup", "p": 0.5}), 5)


def test_nothing_is_imported_without_permission():
    words = r"^loss own_code:Focal: runs foreign code, which needs permission; read it, then add --allow-code$"
    with pytest.raises(RecipeError, match=words):
        losses.build(config("Focal"), CPU)
