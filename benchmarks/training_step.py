"""Training speed of our loop beside a plain one, same net, same augmentation, same run.

    python benchmarks/training_step.py [--seconds 20] [RECIPE ...]

Ours is `snugnet.train.fit` as `snug train` runs it. The plain loop is what most people write first: a torch DataLoader
over torchvision transforms image by image (2 workers), fp32, channels-first, torch.optim.SGD. Both are warmed up, then
measured in turns. Augmentation is crop + flip for both. Prints a table and a JSON line a net.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from snugnet import device, environment, pipeline, recipe
from snugnet.data import splits
from snugnet.data.splits import Splits
from snugnet.device import Compute
from snugnet.models import resnet
from snugnet.recipe import Experiment
from snugnet.train import loop

RECIPES = ["durga25/narrow-resnet18", "patil25/resnetsmall"]
AUGMENT = '[{op = "crop", padding = 4}, {op = "flip"}]'
TURNS = 3


def ours(experiment: Experiment, data: Splits, compute: Compute) -> Iterator[int]:
    """Images of each step."""
    loader, _ = pipeline.loaders(experiment, data, compute.device)
    for _ in loop.fit(resnet.build(experiment.model), loader, None, experiment.train, compute):
        yield experiment.train.batch_size


def plain(experiment: Experiment, data: Splits, compute: Compute) -> Iterator[int]:
    """The same training as a beginner's tutorial has it."""
    import torchvision.transforms as T
    from torch.utils.data import DataLoader, Dataset

    transform = T.Compose(
        [
            T.ToPILImage(),
            T.RandomCrop(32, padding=4),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize(data.normalization.mean, data.normalization.std),
        ]
    )

    class Images(Dataset[Any]):
        def __len__(self) -> int:
            return len(data.train)

        def __getitem__(self, index: int) -> Any:
            return transform(data.train.pixels[index]), int(data.train.labels[index])

    model = resnet.build(experiment.model).to(compute.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    while True:
        for images, labels in DataLoader(Images(), experiment.train.batch_size, shuffle=True, num_workers=2):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images.to(compute.device)), labels.to(compute.device))
            loss.backward()
            optimizer.step()
            yield len(images)


def rate(steps: Iterator[int], seconds: float) -> float:
    """Images a second over about `seconds`."""
    started, images = time.perf_counter(), 0
    while (now := time.perf_counter()) - started < seconds:
        images += next(steps)
    return images / (now - started)


def measure(name: str, seconds: float) -> dict[str, Any]:
    experiment = recipe.load(name, [f"train.augment={AUGMENT}", "train.epochs=1000"]).experiment
    data = splits.open_splits(experiment.data)
    compute = device.choose("auto", experiment.train.precision)
    loops = {"ours": ours(experiment, data, compute), "plain": plain(experiment, data, compute)}
    for steps in loops.values():
        rate(steps, seconds / 4)
    turns = [{key: rate(steps, seconds / TURNS) for key, steps in loops.items()} for _ in range(TURNS)]
    best = {key: max(turn[key] for turn in turns) for key in loops}
    ratios = sorted(turn["ours"] / turn["plain"] for turn in turns)
    return {
        "recipe": name,
        "batch_size": experiment.train.batch_size,
        "ours_images_per_second": round(best["ours"]),
        "plain_images_per_second": round(best["plain"]),
        "ratio": round(ratios[len(ratios) // 2], 2),
        "precision": compute.precision,
        "hardware": environment.hardware(compute.device),
        "torch": str(torch.__version__),
        "date": environment.now(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each loop and net")
    arguments = parser.parse_args()
    rows = [measure(name, arguments.seconds) for name in arguments.recipes]
    for row in rows:
        print(json.dumps(row))
    print("| net | batch | ours, images/s | plain loop, images/s | ratio |\n|---|--:|--:|--:|--:|")
    for row in rows:
        cells = (
            row["recipe"],
            row["batch_size"],
            row["ours_images_per_second"],
            row["plain_images_per_second"],
            row["ratio"],
        )
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
