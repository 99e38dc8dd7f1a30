"""Losses against their formulas, and those of a user's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from snugnet.errors import RecipeError
from snugnet.foreign import code_allowed
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
