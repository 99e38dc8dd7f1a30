from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snugnet.data.config import Normalization
from snugnet.data.images import Images
from snugnet.data.loader import TrainLoader
from snugnet.device import Compute
from snugnet.train import loop, mix
from snugnet.train.config import TrainConfig
from snugnet.train.mix import MixConfig

CLASSES = 10


def batch(count: int = 8, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Image i holds the value i, so that each pixel tells where it came from."""
    labels = torch.arange(count) % CLASSES
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 3, size, size + 4)
    return images.contiguous(memory_format=torch.channels_last), labels


def mixed(seed: int = 0, epoch: int = 0, step: int = 0, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = batch()
    before = images.clone()
    found = mix.build(MixConfig.parse(options), seed, CLASSES)(images, labels, epoch, step)
    assert torch.equal(images, before)
    return found


def test_none_does_nothing() -> None:
    images, labels = batch()
    same = mix.build(None, 0, CLASSES)(images, labels, 0, 0)
    assert same[0] is images
    assert same[1] is labels


@pytest.mark.parametrize("step", range(25))
def test_cutmix_targets_are_the_share_of_pixels(step: int) -> None:
    images, targets = mixed(step=step, name="cutmix")
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    for own, (image, target) in enumerate(zip(images, targets, strict=True)):
        assert (image == image[0]).all()  # channels move together
        share = (image[0] == own).float().mean()
        torch.testing.assert_close(target[own], share, rtol=0, atol=1e-6)
        other = image[0][image[0] != own].unique()
        assert len(other) <= 1
        if len(other):
            torch.testing.assert_close(target[int(other)], 1 - share, rtol=0, atol=1e-6)


@pytest.mark.parametrize("step", range(10))
def test_mixup_targets_are_the_weights(step: int) -> None:
    images, targets = mixed(step=step, name="mixup")
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    value = (targets[:, :8] * torch.arange(8.0)).sum(1)  # what the pixels are, by the targets
    torch.testing.assert_close(images, value.view(-1, 1, 1, 1).expand_as(images), rtol=0, atol=1e-5)


def test_layout_stays() -> None:
    for name in ("cutmix", "mixup"):
        assert mixed(name=name)[0].is_contiguous(memory_format=torch.channels_last), name


def test_probability_and_choice() -> None:
    steps = 2000
    found = [mixed(step=step, name="either", p=0.5) for step in range(steps)]
    soft = [targets.ndim == 2 for _, targets in found]
    assert abs(sum(soft) / steps - 0.5) < 4 * 0.5 / math.sqrt(steps)
    plain = [(images, labels) for (images, labels), is_soft in zip(found, soft, strict=True) if not is_soft]
    assert all(torch.equal(images, batch()[0]) and torch.equal(labels, batch()[1]) for images, labels in plain)
    whole = [
        bool((images == images.round()).all()) for (images, _), is_soft in zip(found, soft, strict=True) if is_soft
    ]
    assert abs(sum(whole) / sum(soft) - 0.5) < 4 * 0.5 / math.sqrt(steps / 2)


def test_never_at_p_0() -> None:
    assert all(mixed(step=step, name="mixup", p=0.0)[1].ndim == 1 for step in range(50))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_beta(alpha: float) -> None:
    random = torch.Generator().manual_seed(0)
    shares = torch.tensor([mix.beta(alpha, random) for _ in range(4000)])
    assert abs(shares.mean() - 0.5) < 0.03
    assert abs(shares.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_the_box_is_clipped_at_the_borders_alone() -> None:
    random = torch.Generator().manual_seed(0)
    found = [mix._interval(32, 0.75, random) for _ in range(500)]  # half the side
    assert {(max(0, centre - 8), min(32, centre + 8)) for centre in range(32)} == set(found)
    assert len(range(*mix._interval(32, 1.0, random))) == 0


def test_draws_belong_to_seed_epoch_and_step() -> None:
    here, _ = mixed(seed=1, epoch=2, step=3, name="mixup")
    assert torch.equal(here, mixed(seed=1, epoch=2, step=3, name="mixup")[0])
    for seed, epoch, step in ((0, 2, 3), (1, 3, 3), (1, 2, 2)):
        assert not torch.equal(here, mixed(seed=seed, epoch=epoch, step=step, name="mixup")[0])


def test_smoothing_of_soft_targets_is_torchs() -> None:
    """Of one-hot targets the loss is that of labels."""
    logits, labels = torch.randn(8, CLASSES), batch()[1]
    hard = F.cross_entropy(logits, labels, label_smoothing=0.1)
    soft = mix.soft_targets(labels, labels, 0.3, CLASSES)
    torch.testing.assert_close(F.cross_entropy(logits, soft, label_smoothing=0.1), hard)


def trained(stop: int | None = None, state: loop.State | None = None, **options: object) -> loop.State:
    """The state after `stop` steps, or at the end."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8, generator=random)
    images, constants = Images(pixels, torch.arange(60) % 4, None), Normalization(mean=(0.5,), std=(0.3,))
    config = TrainConfig.parse({"epochs": 2, "batch_size": 16, "label_smoothing": 0.1, **options})
    cpu = torch.device("cpu")
    loader = TrainLoader(images, constants, classes=4, batch_size=16, augment=config.augment, seed=5, device=cpu)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    done = 0
    for progress in loop.fit(model, loader, None, config, Compute(cpu, "fp32"), state):
        last, done = progress.state(), done + isinstance(progress, loop.Step)
        if done == stop:
            break
    return last


AUGMENT = [{"op": "flip", "alternate": True}, {"op": "rand_augment"}]


def test_the_loop_learns_what_is_mixed() -> None:
    plain, soft = trained(augment=AUGMENT), trained(augment=AUGMENT, mix={"name": "cutmix"})
    assert not torch.equal(plain["model"]["1.weight"], soft["model"]["1.weight"])
    never = trained(augment=AUGMENT, mix={"name": "cutmix", "p": 0.0})
    assert torch.equal(plain["model"]["1.weight"], never["model"]["1.weight"])


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_resume_is_bitwise(stop: int) -> None:
    options = {"augment": AUGMENT, "mix": {"name": "either", "p": 0.7}}
    halfway = trained(stop, **options)
    resumed, straight = trained(state=halfway, **options), trained(**options)
    assert torch.equal(resumed["model"]["1.weight"], straight["model"]["1.weight"])
