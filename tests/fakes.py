"""Run directories as the judging half of snugnet sees them, without a training."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from snugnet.errors import ArtifactError
from snugnet.evaluate.metrics import scores

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CONFUSED = ((3, 5), (5, 3), (0, 8), (1, 9), (9, 1), (2, 4), (4, 7))  # cats are dogs, more often than airplanes


@dataclass(frozen=True)
class FakeRecord:
    path: Path
    summary: dict
    config: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    metrics: list = field(default_factory=list)
    stored: dict = field(default_factory=dict)
    bench: dict = field(default_factory=dict)

    def predictions(self, split):
        if split not in self.stored:
            raise ArtifactError(f"{self.path}: no predictions on {split}")
        return self.stored[split]


def predictions(accuracy, images, classes, seed=0, data=0):
    """Logits right on a share of `accuracy` of the images, wrong by lookalikes; labels depend on `data` alone."""
    random = torch.Generator().manual_seed(1000 * seed + round(1000 * accuracy))
    labels = torch.randint(classes, (images,), generator=torch.Generator().manual_seed(data))
    predicted = labels.clone()
    hard = 0.3 + (labels * 7 % 10) / 5
    misses = images - round(accuracy * images)
    wrong = torch.multinomial(hard, misses, generator=random) if misses else labels[:0]
    predicted[wrong] = (labels[wrong] + torch.randint(1, classes, wrong.shape, generator=random)) % classes
    for true, lookalike in CONFUSED if classes >= 10 else ():
        swap = wrong[(labels[wrong] == true) & (torch.rand(wrong.shape, generator=random) < 0.6)]
        predicted[swap] = lookalike
    sure = 8 * torch.rand(images, generator=random).sqrt()
    sure[wrong] = 6 * torch.rand(wrong.shape, generator=random) ** 2
    logits = torch.randn(images, classes, generator=random).clamp(-2, 2) * 0.5
    logits.scatter_(1, predicted[:, None], logits.amax(1, keepdim=True) + 0.1 + sure[:, None])
    return logits, labels


def record(
    path="runs/quickstart", recipe="snugnet/quickstart", accuracy=0.9, seed=0, images=1000, classes=CIFAR, data=0,
    epochs=10, sha=None, **summary,
):  # fmt: skip
    """A finished run; `summary` replaces or adds values."""
    logits, labels = predictions(accuracy, images, len(classes), seed, data)
    test = scores(logits, labels, classes)
    metrics = [
        {
            "epoch": epoch,
            "train_loss": 2.2 * 0.78**epoch + 1 - accuracy,
            "val_loss": 2.1 * 0.75**epoch + 1.2 - accuracy + 0.02 * (epoch % 3),
            "val_accuracy": accuracy - 0.5 * 0.7**epoch,
            "lr": 0.1 * (1 - (epoch - 1) / epochs),
            "images_per_second": 1450.0,
            "seconds": 31.0,
            "images": 45_000,
        }
        for epoch in range(1, epochs + 1)
    ]
    full = {
        "format": 1, "recipe": recipe, "recipe_sha256": sha or recipe.encode().hex().ljust(64, "0"), "seed": seed,
        "epochs": epochs, "params": 4_978_810, "macs": 557_000_000, "bytes": 19_936_472,
        "budget": {"params": 5_000_000, "bytes": 20_000_000}, "weights": "last", "epoch": epochs, "trained_on": "train",
        "classes": list(classes), "val": accuracy - 0.001, "test": test.accuracy,
        "scores": {"val": test.plain(), "test": test.plain()}, "seconds": 312.4, "images_per_second": 1450.2,
        "device": "cpu", "precision": "bf16", "hardware": "2 cores of AMD EPYC 9B14", "date": "2026-11-21",
        "commit": "0f45e44", "command": f"snug train {recipe} --seed {seed}", **summary,
    }  # fmt: skip
    config = {
        "model": {"name": "resnet", "stages": [{"block": "basic", "blocks": 2, "channels": 64}]},
        "data": {"name": "cifar10", "val_fraction": 0.1},
        "train": {"epochs": epochs, "lr": 0.1, "batch_size": 128, "label_smoothing": 0.1},
    }
    environment = {
        "python": "3.11.2", "torch": "2.9.0+cpu", "device": "cpu", "precision": "bf16", "threads": 2,
        "cpu": "AMD EPYC 9B14", "cpu_flags": ["avx2", "avx512f", "avx512_bf16", "amx_tile"], "commit": "0f45e44",
        "command": full["command"], "date": "2026-11-21",
    }  # fmt: skip
    stored = {"val": (logits, labels), "test": (logits, labels)}
    return FakeRecord(Path(path), full, config, environment, metrics, stored)


def unfinished(path="runs/half"):
    return FakeRecord(Path(path), {})
