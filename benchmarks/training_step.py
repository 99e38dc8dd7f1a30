"""Training speed of our loop beside others: same net, same augmentation, same run.

    python benchmarks/training_step.py [RECIPE ...] [--seconds 20] [--batch N ...] [--peers plain compiled timm]

Ours is `snugnet.train.fit` as `snug train` runs it. The peers:

- plain: what most people write first, a torch DataLoader over torchvision transforms image by image (2 workers), fp32,
  channels-first, torch.optim.SGD;
- compiled: torch.compile over the same net in our precision, channels-last, fused SGD, fed by our loader;
- timm: what timm's training script does, from timm's own loader, optimiser and loss, in our precision, channels-last,
  2 workers (extra `bench`).

All are warmed up, then measured in turns; a ratio is the median of the turns'. `convolutions` is the rate of the net's
convolutions alone, as benchmarks/step_parts.py has it. Augmentation is crop + flip for all. Prints a table and a JSON
line a net and batch size.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from snugnet import device, environment, pipeline, recipe
from snugnet.data import splits
from snugnet.data.splits import Splits
from snugnet.device import Compute
from snugnet.models import resnet
from snugnet.recipe import Experiment
from snugnet.train import loop
from step_parts import floor_ms

RECIPES = ["durga25/narrow-resnet18", "patil25/resnetsmall", "tu24/base"]
AUGMENT = '[{op = "crop", padding = 4}, {op = "flip"}]'
TURNS = 3
Steps = Iterator[int]  # images of each step


def ours(experiment: Experiment, data: Splits, compute: Compute) -> Steps:
    loader, _ = pipeline.loaders(experiment, data, compute.device)
    for _ in loop.fit(resnet.build(experiment.model), loader, None, experiment.train, compute):
        yield experiment.train.batch_size


def plain(experiment: Experiment, data: Splits, compute: Compute) -> Steps:
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


def compiled(experiment: Experiment, data: Splits, compute: Compute) -> Steps:
    loader, _ = pipeline.loaders(experiment, data, compute.device)
    model = resnet.build(experiment.model).to(compute.device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True)

    @torch.compile
    def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with compute.autocast():
            logits = model(images)
        return F.cross_entropy(logits.float(), labels)

    for epoch in range(10**6):
        for images, labels in loader.epoch(epoch):
            loss_of(images, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            yield len(images)


def timm(experiment: Experiment, data: Splits, compute: Compute) -> Steps:
    """timm's train.py, without its logging: create_loader, create_optimizer_v2, its loss, its order of calls."""
    from PIL import Image
    from timm.data import create_loader
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    class Images(torch.utils.data.Dataset[Any]):
        transform: Callable[[Any], Any]  # set by create_loader

        def __len__(self) -> int:
            return len(data.train)

        def __getitem__(self, index: int) -> Any:
            image = Image.fromarray(data.train.pixels[index].permute(1, 2, 0).numpy())
            return self.transform(image), int(data.train.labels[index])

    side = experiment.model.image_size
    loader = create_loader(
        Images(), (3, side, side), experiment.train.batch_size, is_training=True, use_prefetcher=False, num_workers=2,
        train_crop_mode="rkrc", scale=(1.0, 1.0), ratio=(1.0, 1.0), hflip=0.5, color_jitter=0.0,
        mean=data.normalization.mean, std=data.normalization.std, device=compute.device,
    )  # fmt: skip
    model: nn.Module = resnet.build(experiment.model).to(compute.device, memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1, weight_decay=5e-4)
    criterion = LabelSmoothingCrossEntropy(0.1)
    while True:
        for images, labels in loader:
            with compute.autocast():
                loss = criterion(model(images.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield len(images)


PEERS = {"plain": plain, "compiled": compiled, "timm": timm}


def rate(steps: Steps, seconds: float) -> float:
    """Images a second over about `seconds`."""
    started, images = time.perf_counter(), 0
    while (now := time.perf_counter()) - started < seconds:
        images += next(steps)
    return images / (now - started)


def convolutions(experiment: Experiment, data: Splits, compute: Compute) -> float:
    images = data.train.pixels[: experiment.train.batch_size].float() / 255
    return 1e3 * len(images) / floor_ms(experiment, compute, images.contiguous(memory_format=torch.channels_last))


def measure(name: str, batch: int | None, peers: list[str], seconds: float) -> dict[str, Any]:
    override = [f"train.batch_size={batch}"] if batch else []
    experiment = recipe.load(name, [f"train.augment={AUGMENT}", "train.epochs=1000", *override]).experiment
    data = splits.open_splits(experiment.data)
    compute = device.choose("auto", experiment.train.precision)
    loops = {"ours": ours} | {peer: PEERS[peer] for peer in peers}
    running = {key: make(experiment, data, compute) for key, make in loops.items()}
    for steps in running.values():
        next(steps)  # compiles
        rate(steps, seconds / 4)
    turns = [{key: rate(steps, seconds / TURNS) for key, steps in running.items()} for _ in range(TURNS)]
    alone = convolutions(experiment, data, compute)
    middle = {peer: sorted(turn["ours"] / turn[peer] for turn in turns)[TURNS // 2] for peer in peers}
    best = {key: max(turn[key] for turn in turns) for key in running}
    return {
        "recipe": name,
        "batch_size": experiment.train.batch_size,
        "images_per_second": {key: round(value) for key, value in (best | {"convolutions": alone}).items()},
        "ratio": {peer: round(value, 2) for peer, value in middle.items()},
        "share_of_convolutions": round(best["ours"] / alone, 3),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "hardware": environment.hardware(compute.device),
        "torch": str(torch.__version__),
        "date": environment.now(),
    }


def show(rows: list[dict[str, Any]], peers: list[str]) -> None:
    columns = ["ours", *peers, "convolutions"]
    heads = [f"{column}, images/s" for column in columns] + [f"ours / {peer}" for peer in [*peers, "convolutions"]]
    print("| net | batch | " + " | ".join(heads) + " |\n|---|" + "--:|" * (len(heads) + 1))
    for row in rows:
        cells = [row["recipe"], row["batch_size"], *(row["images_per_second"][column] for column in columns)]
        cells += [*(row["ratio"][peer] for peer in peers), f"{row['share_of_convolutions']:.2f}"]
        print("| " + " | ".join(map(str, cells)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each loop and net")
    parser.add_argument("--batch", type=int, nargs="*", default=[None], help="instead of the recipe's")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=["plain"])
    arguments = parser.parse_args()
    rows = []
    for name in arguments.recipes:
        for batch in arguments.batch:
            rows.append(measure(name, batch, arguments.peers, arguments.seconds))
            print(json.dumps(rows[-1]), flush=True)
    show(rows, arguments.peers)


if __name__ == "__main__":
    main()
