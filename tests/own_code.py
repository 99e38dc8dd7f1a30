"""Augmentations and losses as a user would write them, right and wrong ones, for tests to name by import path."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Noise:
    """Adds up to `most` levels, each pixel its own, from the draw's generator."""

    def __init__(self, most=9):
        self.most = most

    def __call__(self, images, draw):
        noise = torch.randint(1, self.most + 1, images.shape, generator=draw.generator, dtype=torch.uint8)
        return images + noise.to(images.device) if images.dtype == torch.uint8 else images + noise.float() / 255


class Numbered:
    """Writes into each image its number in the split, and how many images there are."""

    def __call__(self, images, draw):
        assert len(draw) == len(images)
        changed = images.clone()
        changed[:, 0, 0, 0] = draw.indices.to(torch.uint8)
        changed[:, 0, 0, 1] = len(images)
        return changed


class Floats:
    def __call__(self, images, _):
        return images / 255


class Smaller:
    def __call__(self, images, _):
        return images[:, :, 1:]


class Nothing:
    def __call__(self, *_):
        return None


class Failing:
    def __call__(self, *_):
        raise KeyError("threshold")


class Full:
    def __call__(self, *_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")


def number(**_):
    return 3


class Focal:
    """Lin et al. 2017, of labels or of shares."""

    def __init__(self, gamma=2.0):
        self.gamma = gamma

    def __call__(self, logits, targets):
        shares = targets if targets.is_floating_point() else F.one_hot(targets, logits.shape[1]).float()
        logs = logits.log_softmax(1)
        return -(shares * (1 - logs.exp()) ** self.gamma * logs).sum(1).mean()


class Weighted(nn.Module):
    """Cross-entropy with a weight for each class."""

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, logits, targets):
        return F.cross_entropy(logits, targets, self.weights)


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


class LabelsOnly:
    def __call__(self, logits, targets):
        return F.nll_loss(logits.log_softmax(1), targets)


class SharesOnly:
    def __call__(self, logits, targets):
        return -(targets * logits.log_softmax(1)).sum(1).mean()


class PerImage:
    def __call__(self, logits, targets):
        return F.cross_entropy(logits, targets, reduction="none")


class Right:
    """How many are right: a number, and no loss."""

    def __call__(self, logits, targets):
        return (logits.argmax(1) == targets).float().mean()


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(_, logits):
        return logits.sum()

    @staticmethod
    def backward(*_):
        raise ValueError("not written yet")


class NoWayBack:
    def __call__(self, logits, _):
        return Broken.apply(logits)
