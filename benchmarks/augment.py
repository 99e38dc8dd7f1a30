"""Time of augmenting a batch: ours beside torchvision's image by image, the same operations, in the same run.

    python benchmarks/augment.py [--batch 512] [--turns 7] [--step RECIPE] [NAME ...]

Ours is `apply` on a uint8 batch in memory, on one thread as in the loader. Theirs is what its documentation shows: each
image as a Pillow image through transforms.Compose, back to uint8 tensors and stacked, in one process. (With workers it
would take cores from the training.) Each is warmed up, then timed in turns; the medians are told. With --step also one
training step of that recipe's net on such a batch, nothing augmented, as `snug train` would take it: what share of it
our augmentation costs. Prints a table and a JSON line a policy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snugnet import device, environment, recipe
from snugnet.data.config import Normalization
from snugnet.data.images import Images
from snugnet.data.loader import TrainLoader
from snugnet.device import one_thread
from snugnet.models import resnet
from snugnet.train import loop
from snugnet.train.config import TrainConfig

STEPS = 50  # batches of random images that a training goes round
BASE = [{"op": "crop", "padding": 4}, {"op": "flip"}]
POLICIES: dict[str, list[dict[str, Any]]] = {
    "crop, flip": BASE,
    "avvari24": [{"op": "auto_augment"}, *BASE, {"op": "perspective", "distortion": 0.6, "p": 0.5}],
    "aswani22": [{"op": "rotate", "degrees": 5}, {"op": "flip"}, {"op": "crop", "padding": 2}],
    "patil25": [*BASE, {"op": "blur", "p": 0.3}, {"op": "flip", "axis": "vertical", "p": 0.05}],
    "tu24": [
        {"op": "flip"},
        {"op": "rotate", "degrees": 10},
        {"op": "color_jitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    ],
    "trivial_augment": [*BASE, {"op": "trivial_augment"}],
    "rand_augment": [*BASE, {"op": "rand_augment"}],
}


def ours(policy: list[dict[str, Any]], images: Tensor) -> Callable[[], Tensor]:
    operations = TrainConfig.parse({"epochs": 1, "augment": policy}).augment
    generator = torch.Generator().manual_seed(0)

    def step() -> Tensor:
        batch = images
        with one_thread():
            for operation in operations:
                batch = operation.apply(batch, generator)
        return batch

    return step


def theirs(policy: list[dict[str, Any]], images: Tensor) -> Callable[[], Tensor]:
    import torchvision.transforms as T

    def blur() -> Any:
        from PIL import ImageFilter

        def change(image: Any) -> Any:
            return image.filter(ImageFilter.GaussianBlur(float(torch.empty(1).uniform_(0.1, 1.5))))

        return change

    make: dict[str, Callable[..., Any]] = {
        "crop": lambda padding: T.RandomCrop(images.shape[-1], padding=padding),
        "flip": lambda p=0.5, axis="horizontal": (
            T.RandomHorizontalFlip(p) if axis == "horizontal" else T.RandomVerticalFlip(p)
        ),
        "auto_augment": lambda: T.AutoAugment(T.AutoAugmentPolicy.CIFAR10),
        "perspective": lambda distortion, p: T.RandomPerspective(distortion, p),
        "rotate": lambda degrees: T.RandomRotation(degrees),
        "color_jitter": T.ColorJitter,
        "blur": lambda p: T.RandomApply([blur()], p),
        "trivial_augment": T.TrivialAugmentWide,
        "rand_augment": T.RandAugment,
    }
    steps = [make[each["op"]](**{key: value for key, value in each.items() if key != "op"}) for each in policy]
    change = T.Compose([T.ToPILImage(), *steps, T.PILToTensor()])
    return lambda: torch.stack([change(image) for image in images])


def training_step(name: str, batch: int) -> Callable[[], object]:
    """One step of the recipe's training on random images, in the precision that it takes here."""
    experiment = recipe.load(name, ["train.augment=[]", f"train.batch_size={batch}"]).experiment
    compute = device.choose("cpu", experiment.train.precision)
    count = STEPS * batch
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    images = Images(pixels, torch.randint(0, 10, (count,)), None)
    constants = Normalization(mean=(0.5,) * 3, std=(0.25,) * 3)
    loader = TrainLoader(images, constants, classes=10, batch_size=batch, augment=(), seed=0, device=compute.device)
    steps = loop.fit(resnet.build(experiment.model), loader, None, experiment.train, compute)
    return lambda: next(steps)


def elapsed_ms(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - started)


def measure(name: str, batch: int, turns: int, trained: str | None) -> dict[str, Any]:
    smooth = torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    images = torch.nn.functional.interpolate(smooth, 32, mode="bicubic").clamp(0, 255).to(torch.uint8)
    loops: dict[str, Callable[[], object]] = {
        "ours": ours(POLICIES[name], images),
        "torchvision": theirs(POLICIES[name], images),
    }
    if trained:
        loops["step"] = training_step(trained, batch)
    for step in loops.values():
        step()
    found = [{key: elapsed_ms(step) for key, step in loops.items()} for _ in range(turns)]
    medians = {key: statistics.median(turn[key] for turn in found) for key in loops}
    ratio = statistics.median(turn["torchvision"] / turn["ours"] for turn in found)
    return {
        "policy": name,
        "batch_size": batch,
        **{f"{key}_ms": round(value, 1) for key, value in medians.items()},
        **{f"{key}_images_per_second": round(1000 * batch / medians[key]) for key in ("ours", "torchvision")},
        "ours_best_ms": round(min(turn["ours"] for turn in found), 1),
        "ratio": round(ratio, 1),
        **({"trained": trained, "share_of_step": round(medians["ours"] / medians["step"], 4)} if trained else {}),
        "threads": torch.get_num_threads(),
        "hardware": environment.hardware(torch.device("cpu")),
        "torch": str(torch.__version__),
        "date": environment.now(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(POLICIES), metavar="NAME", help=", ".join(POLICIES))
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--step", metavar="RECIPE", help="whose training step to measure beside it")
    arguments = parser.parse_args()
    rows = [measure(name, arguments.batch, arguments.turns, arguments.step) for name in arguments.names]
    for row in rows:
        print(json.dumps(row))
    share = f" share of a step of {arguments.step} |" if arguments.step else ""
    print(
        f"| policy | batch | ours, ms (best) | torchvision image by image, ms | ratio | ours, images/s |{share}\n"
        f"|---|--:|--:|--:|--:|--:|{'--:|' if share else ''}"
    )
    for row in rows:
        print(
            f"| {row['policy']} | {row['batch_size']} | {row['ours_ms']} ({row['ours_best_ms']}) "
            f"| {row['torchvision_ms']} | {row['ratio']} | {row['ours_images_per_second']} |"
            + (f" {100 * row['share_of_step']:.1f} % of {row['step_ms']} ms |" if share else "")
        )


if __name__ == "__main__":
    main()
