"""What teachers say of a batch, and what a student learns from it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from small_runs import tiny
from snugnet.artifact import Card, Shipped
from snugnet.data import splits
from snugnet.data.config import Normalization
from snugnet.data.copies import Copies
from snugnet.data.loader import EvalLoader, Normalize, TrainLoader
from snugnet.device import Compute
from snugnet.models import resnet
from snugnet.parallel import share
from snugnet.train import distill, loop
from snugnet.train.config import TrainConfig
from snugnet.train.distill import DistillConfig, Teacher
from snugnet.train.loop import Learner
from specs import card, spec

CPU, FP32 = torch.device("cpu"), Compute(torch.device("cpu"), "fp32")
HERE = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
THERE = Normalization(mean=(0.1, 0.6, 0.45), std=(0.5, 0.25, 1.0))
CLASSES = tuple("abcde")


def config(**values: Any) -> DistillConfig:
    return DistillConfig.parse({"teachers": ["runs/big"], **values})


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shipped(model: nn.Module | None = None, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Shipped:
    design = spec(image_size=8, classes=len(classes))
    if model is None:
        torch.manual_seed(seed)
        model = resnet.build(design).eval()
    return Shipped(Path("net"), 0, Card(model=design, classes=classes, normalization=THERE), model)  # type: ignore[arg-type]


class Named(nn.Module):
    """Its logits are the first pixel of the image, and numbers; remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        self.seen.append(images)
        return images[:, 0, 0, :1] * torch.arange(1.0, 6.0)


def teacher(model: nn.Module | None = None, normalization: Normalization = THERE, **options: Any) -> Teacher:
    return Teacher(shipped(model, **options), CLASSES, normalization, FP32)


# the loss


@pytest.mark.parametrize("soft", [False, True])
def test_without_weight_it_is_the_loss_on_labels(soft: bool):
    logits, said = drawn(6, 5), drawn(6, 5, seed=1).log_softmax(1)
    targets = drawn(6, 5, seed=2).softmax(1) if soft else torch.arange(6) % 5
    plain = partial(F.cross_entropy, label_smoothing=0.1)
    assert torch.equal(config(weight=0.0).loss(plain, logits, targets, said), plain(logits, targets))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_student_that_agrees_learns_from_labels_alone(temperature: float):
    """Up to a number for each image, which no probability shows."""
    logits = drawn(6, 5, dtype=torch.float64).requires_grad_()
    distilling = config(weight=0.75, temperature=temperature)
    said = distilling.joined(logits.detach()[None] + drawn(6, 1, seed=1, dtype=torch.float64))
    loss = distilling.loss(F.cross_entropy, logits, torch.zeros(6, dtype=torch.int64), said)
    torch.testing.assert_close(loss, 0.25 * F.cross_entropy(logits, torch.zeros(6, dtype=torch.int64)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_gradients_are_the_difference_of_softened_probabilities_times_the_temperature(temperature: float):
    """d/dz T^2 KL(p || q) = T (q - p), a mean over the batch: of one size at any high temperature."""
    logits, other = drawn(6, 5, dtype=torch.float64).requires_grad_(), drawn(6, 5, seed=1, dtype=torch.float64)
    distilling = config(weight=1.0, temperature=temperature)
    distilling.loss(F.cross_entropy, logits, torch.arange(6) % 5, distilling.joined(other[None])).backward()
    student, taught = ((each / temperature).softmax(1) for each in (logits.detach(), other))
    torch.testing.assert_close(logits.grad, temperature * (student - taught) / 6)


def test_at_high_temperatures_logits_are_matched():
    """Half the variance of the logits' differences over the classes (Hinton et al., section 2.1)."""
    logits, other = (drawn(6, 5, seed=seed, dtype=torch.float64) for seed in (0, 1))
    distilling = config(weight=1.0, temperature=1000)
    loss = distilling.loss(F.cross_entropy, logits, torch.arange(6) % 5, distilling.joined(other[None]))
    assert loss.item() == pytest.approx(((logits - other).var(1, correction=0) / 2).mean().item(), rel=0.01)


def test_an_ensemble_says_its_mean():
    logits = drawn(3, 6, 5)
    of_logits, of_probabilities = (config(mean_of=each).joined(logits) for each in ("logits", "probabilities"))
    torch.testing.assert_close(of_logits.exp(), (logits.mean(0) / 4).softmax(1))
    torch.testing.assert_close(of_probabilities.exp(), (logits / 4).softmax(2).mean(0))
    alone = [config(mean_of=each).joined(logits[:1]) for each in ("logits", "probabilities")]
    torch.testing.assert_close(*alone)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"teachers": []}, "teachers"),
        ({"teachers": [""]}, "teachers"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": 1001}, "temperature"),
        ({"weight": -0.1}, "weight"),
        ({"weight": 1.1}, "weight"),
        ({"mean_of": "labels"}, "mean_of"),
    ],
)
def test_values_that_mean_nothing(values: dict[str, Any], place: str):
    with pytest.raises(ValidationError) as caught:
        config(**values)
    assert {error["loc"][0] for error in caught.value.errors()} == {place}


# teachers


def test_a_teacher_reads_images_in_its_own_normalisation():
    pixels = torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    here, there = (Normalize(each, CPU)(pixels) for each in (HERE, THERE))
    torch.testing.assert_close(distill.renormalized(HERE, THERE, CPU)(here), there)
    assert distill.renormalized(THERE, THERE, CPU)(there) is there
    with torch.no_grad():
        expected = shipped().model(there)
    torch.testing.assert_close(teacher(normalization=HERE).logits(here), expected, rtol=1e-4, atol=1e-5)


def test_classes_come_in_the_student_s_order():
    mixed_up = tuple("caedb")
    images = drawn(4, 3, 8, 8)
    own = shipped(classes=mixed_up).model(images)
    seen = teacher(classes=mixed_up).logits(images)
    for column, name in enumerate(CLASSES):
        torch.testing.assert_close(seen[:, column], own[:, mixed_up.index(name)])


def test_nothing_of_a_teacher_changes_and_no_number_is_drawn():
    one = shipped()
    one.model.train().requires_grad_(True)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    random = torch.get_rng_state()
    logits = Teacher(one, CLASSES, THERE, FP32).logits(drawn(4, 3, 8, 8))
    assert (logits.requires_grad, logits.dtype, one.model.training) == (False, torch.float32, False)
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_teacher_computes_as_the_training_does():
    images = drawn(4, 3, 8, 8)
    half = Teacher(shipped(), CLASSES, THERE, Compute(CPU, "bf16")).logits(images)
    assert half.dtype == torch.float32
    assert torch.equal(half, half.bfloat16().float())
    assert not torch.equal(half, teacher().logits(images))


# a batch


def test_each_process_asks_about_its_rows_alone():
    images, net = drawn(7, 3, 8, 8), Named()
    ask = [distill.on_batches(config(), [teacher(net)], 1, partial(share, rank=rank, count=3)) for rank in range(3)]
    parts = [each.targets(images, torch.arange(7), 0, 0)[1] for each in ask]
    assert [len(seen) for seen in net.seen] == [2, 2, 3]
    whole = distill.on_batches(config(), [teacher(net)], 1, lambda rows: slice(0, rows))
    torch.testing.assert_close(sum(parts), whole.targets(images, torch.arange(7), 0, 0)[1])


def test_a_process_without_rows_asks_nothing():
    net = Named()
    idle = distill.on_batches(config(), [teacher(net)], 2, partial(share, rank=2, count=3))
    labels, said = idle.targets(drawn(4, 3, 8, 8), torch.arange(4), 0, 0)
    assert (len(labels), said.shape, net.seen) == (4, (4, 5), [])


@pytest.mark.parametrize(("accumulate", "sizes"), [(1, [7]), (2, [4, 3]), (3, [3, 3, 1])])
def test_it_is_asked_once_a_batch_in_as_many_parts_as_the_student(accumulate: int, sizes: list[int]):
    """Though SAM takes two passes."""
    net = Named()
    teaching = distill.on_batches(config(), [teacher(net)], accumulate, lambda rows: slice(0, rows))
    settings = {"epochs": 1, "accumulate": accumulate, "optimizer": {"sam": {}}}
    student = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    learner = Learner(student, TrainConfig.parse(settings), FP32, teaching=teaching)
    images, labels = drawn(7, 3, 8, 8), torch.arange(7) % 5
    targets = teaching.targets(images, labels, 0, 0)
    learner.update.step(partial(learner.gradients, images, *targets))
    assert [len(seen) for seen in net.seen] == sizes


def test_parts_of_a_batch_go_with_what_was_said_of_them():
    images, labels = drawn(7, 3, 8, 8), torch.arange(7) % 5
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    found = []
    for accumulate in (1, 3):
        teaching = distill.on_batches(config(), [teacher()], accumulate, lambda rows: slice(0, rows))
        settings = TrainConfig(epochs=1, accumulate=accumulate)
        learner = Learner(student, settings, FP32, teaching=teaching)
        loss = learner.gradients(images, *teaching.targets(images, labels, 0, 0))
        found.append([loss, *(weight.grad.clone() for weight in learner.weights)])
    torch.testing.assert_close(*found)


def test_remembered_answers_are_those_to_the_plain_images_copies_too():
    experiment = tiny("train.augment=[{op='flip',p=1.0}]", "train.batch_size=100").experiment
    data = splits.open_splits(experiment.data)
    copies = torch.tensor([3, 3, 77])
    train = TrainLoader(
        data.train, data.normalization, classes=10, batch_size=100, augment=experiment.train.augment, seed=0,
        device=CPU, copies=Copies(copies),
    )  # fmt: skip
    plain = EvalLoader(data.train, data.normalization, batch_size=500, device=CPU)
    pixels = torch.cat(list(plain))
    design = card(spec(image_size=8, in_channels=1), data.info.classes)

    class Sum(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, 20:30]

    one = Teacher(Shipped(Path("net"), 0, design, Sum()), data.info.classes, design.normalization, FP32)  # type: ignore[arg-type]
    teaching = distill.from_memory(config(temperature=1), [one], train, plain)
    shown = []
    for step, (images, labels) in enumerate(train.epoch(1)):
        same, said = teaching.targets(images, labels, 1, step)
        assert same is labels
        torch.testing.assert_close(images, pixels[train.places(1, step)].flip(3))  # and they are other images
        torch.testing.assert_close(said, one.logits(pixels[train.places(1, step)]).log_softmax(1))
        shown.append(train.places(1, step))
    counts = torch.cat(shown).bincount()
    assert counts.sum() == len(data.train) + 3
    assert (counts[3], counts[77]) == (3, 2)


def test_teachers_see_whole_mixed_images_and_the_labels_are_mixed():
    experiment = tiny("train.progressive=[{until=0.5,size=4}]", "train.mix={name='cutmix'}").experiment
    data = splits.open_splits(experiment.data)
    train = TrainLoader(data.train, data.normalization, classes=10, batch_size=512, augment=(), seed=0, device=CPU)
    asked: list[tuple[Tensor, Tensor]] = []

    def targets(images: Tensor, labels: Tensor, epoch: int, step: int) -> tuple[Tensor, ...]:
        asked.append((images, labels))
        assert (epoch, step) == divmod(len(asked) - 1, train.steps)
        return (labels,)

    watching = distill.Teaching(targets, lambda loss: loss)
    model = resnet.build(experiment.model.replaced(in_channels=1, image_size=8))
    list(loop.fit(model, train, None, experiment.train, FP32, teaching=watching))
    assert [images.shape[-1] for images, _ in asked] == [8] * 6
    plain = [pair for epoch in range(2) for pair in train.epoch(epoch)]
    for (images, labels), (before, numbers) in zip(asked, plain, strict=True):
        assert labels.shape == (len(images), 10)
        assert not torch.equal(images, before)
        torch.testing.assert_close(labels.sum(1), torch.ones(len(numbers)))
