from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from snugnet.device import Compute
from snugnet.train.config import TrainConfig
from snugnet.train.loop import Learner

CPU = torch.device("cpu")
SETTINGS = {"epochs": 1, "optimizer": {"lr": 0.5, "weight_decay": 0.01}, "clip_norm": 0.5}


def batch(rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 3, 4, 4, generator=generator), torch.randint(0, 5, (rows,), generator=generator)


def learner(accumulate: int, norm: bool = False, **settings: object) -> Learner:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), *([nn.BatchNorm2d(8)] if norm else []), nn.Tanh(), nn.Flatten(), nn.Linear(32, 5)]
    config = TrainConfig.parse(SETTINGS | {"accumulate": accumulate} | settings)
    return Learner(nn.Sequential(*layers), config, Compute(CPU, "fp32"))


def stepped(accumulate: int, rows: int, soft: bool = False, **settings: object) -> tuple[Tensor, Tensor]:
    """The loss, and all weights after three steps."""
    found = learner(accumulate, **settings)
    images, targets = batch(rows)
    given = nn.functional.one_hot(targets, 5).float() if soft else targets
    losses = [found.update.step(partial(found.gradients, images, given)) for _ in range(3)]
    return torch.stack(losses), torch.cat([weight.detach().flatten() for weight in found.weights])


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("accumulate", "rows"), [(2, 8), (4, 8), (3, 8), (4, 5), (100, 7)])
def test_without_batch_norm_a_step_in_parts_is_the_step(accumulate: int, rows: int, soft: bool):
    (loss, weights), (whole_loss, whole_weights) = stepped(accumulate, rows, soft), stepped(1, rows, soft)
    torch.testing.assert_close(loss, whole_loss)
    torch.testing.assert_close(weights, whole_weights)
    assert not torch.equal(whole_weights, stepped(1, rows + 1, soft)[1])


@pytest.mark.parametrize("optimizer", [{"name": "adamw", "lr": 0.01}, {"lr": 0.1, "sam": {}}])
def test_it_is_one_step_of_any_rule(optimizer: dict[str, object]):
    torch.testing.assert_close(stepped(4, 8, optimizer=optimizer)[1], stepped(1, 8, optimizer=optimizer)[1])


@pytest.mark.parametrize("rows", [8, 7])
def test_batch_norm_sees_each_part_alone(rows: int):
    """Gradients are the mean over rows of those that each part gives by itself; statistics move once a part."""
    images, targets = batch(rows)
    found = learner(2, norm=True, clip_norm=None)
    loss = found.gradients(images, targets)
    by_hand = learner(1, norm=True, clip_norm=None).model
    mean = sum(
        nn.functional.cross_entropy(by_hand(part), own) * len(part) / rows
        for part, own in zip(images.tensor_split(2), targets.tensor_split(2), strict=True)
    )
    mean.backward()
    torch.testing.assert_close(loss, mean.detach())
    for one, other in zip(found.model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    for one, other in zip(found.model.buffers(), by_hand.buffers(), strict=True):
        torch.testing.assert_close(one, other)
    assert int(found.model[1].num_batches_tracked) == 2


def test_no_part_is_of_one_image():
    images, targets = batch(5)
    seen: list[int] = []
    found = learner(4, norm=True)
    found.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    found.gradients(images, targets)
    assert seen == [3, 2]
