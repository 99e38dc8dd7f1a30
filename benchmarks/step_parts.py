"""Where the time of a training step goes: ours and a plain loop's by part, beside its convolutions alone.

    python benchmarks/step_parts.py [--seconds 10] [--batch N] [RECIPE ...]

Ours is the step of `snugnet.train.fit`. The plain one is the same net in fp32, channels-first, with an optimiser that
goes weight by weight. Each is timed as it runs; then a profiler tells the shares of its operations, and what no part
claims is overhead: Python, autograd, dispatch. `floor` is the net's convolutions alone, forward and backward, each at
its best of many runs, in our precision and layout. Data is our loader's time, with the recipe's augmentation; the
plain loop is given its batches. Prints a table a net, in milliseconds, and a JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from snugnet import device, environment, pipeline, recipe
from snugnet.data import splits
from snugnet.device import Compute
from snugnet.models import resnet
from snugnet.recipe import Experiment
from snugnet.train.loop import Learner

RECIPES = ["patil25/resnetsmall", "durga25/narrow-resnet18", "tu24/v6", "snugnet/quickstart"]
BATCHES = 128  # of which the data's time is the mean
PARTS = {  # of the names that torch gives its operations
    "convolution": ("convolution", "slow_conv"),
    "norm": ("batch_norm",),
    "activation, pool, sum": ("relu", "threshold", "gelu", "silu", "pool", "aten::add", "softmax", "nll_loss"),
    "linear": ("aten::mm", "addmm", "aten::linear"),
    "casts and copies": ("aten::copy_", "aten::to", "aten::clone", "contiguous"),
    "optimiser": ("_fused_", "_foreach_", "Optimizer.step", "aten::addcmul", "aten::addcdiv", "aten::lerp"),
}
Step = Callable[[], Any]


def our_step(experiment: Experiment, compute: Compute, images: Tensor, labels: Tensor) -> Step:
    learner = Learner(resnet.build(experiment.model), experiment.train, compute)
    learner.model.train()
    return lambda: learner.update.step(partial(learner.gradients, images, labels))


def plain_step(experiment: Experiment, images: Tensor, labels: Tensor) -> Step:
    model = resnet.build(experiment.model).train()
    kind = torch.optim.Adam if experiment.train.optimizer.name.startswith("adam") else torch.optim.SGD
    optimizer = kind(model.parameters(), lr=1e-3, weight_decay=5e-4, foreach=False)
    images = images.contiguous()

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def median_ms(step: Step, seconds: float) -> float:
    for _ in range(3):
        step()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 5:
        started = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - started))
    return sorted(times)[len(times) // 2]


def mean_ms(batches: Iterator[Any], count: int) -> float:
    """Of a batch; small ones are made many at a time."""
    started = time.perf_counter()
    for _ in itertools.islice(batches, count):
        pass
    return 1e3 * (time.perf_counter() - started) / count


def parts_ms(step: Step, total_ms: float) -> dict[str, float]:
    """`total_ms` in the shares that a profiler sees."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        started = time.perf_counter()
        for _ in range(5):
            step()
        spent_us = 1e6 * (time.perf_counter() - started)
    found = dict.fromkeys(PARTS, 0.0)
    for event in seen.key_averages():
        part = next((part for part, names in PARTS.items() if any(name in event.key for name in names)), None)
        if part and event.key.startswith(("aten::", "Optimizer.step")):
            found[part] += total_ms * event.self_cpu_time_total / spent_us
    return found | {"overhead": total_ms - sum(found.values())}


def floor_ms(experiment: Experiment, compute: Compute, images: Tensor) -> float:
    """All convolutions of the net, each forward and backward by itself; the first needs no gradient of its input."""
    model = resnet.build(experiment.model).to(memory_format=torch.channels_last)
    seen: list[tuple[nn.Conv2d, Tensor]] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda conv, inputs, _: seen.append((conv, inputs[0])))
    with torch.no_grad(), compute.autocast():
        model(images)
    return sum(_alone(conv, entering.detach(), number > 0, compute) for number, (conv, entering) in enumerate(seen))


def _alone(conv: nn.Conv2d, entering: Tensor, wants_input: bool, compute: Compute) -> float:
    lower = torch.bfloat16 if compute.precision == "bf16" else torch.float32
    conv = type(conv)(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups,
        bias=conv.bias is not None,
    ).to(lower, memory_format=torch.channels_last)  # fmt: skip
    entering = entering.to(lower).contiguous(memory_format=torch.channels_last).requires_grad_(wants_input)
    gradient = torch.ones_like(conv(entering))
    times = []
    for _ in range(12):
        started = time.perf_counter()
        conv(entering).backward(gradient)
        times.append(1e3 * (time.perf_counter() - started))
    return min(times)


def measure(name: str, batch: int | None, seconds: float) -> dict[str, Any]:
    override = [f"train.batch_size={batch}"] if batch else []
    experiment, _ = pipeline.prepared(recipe.load(name, override).experiment)
    compute = device.choose("cpu", experiment.train.precision)
    loader, _ = pipeline.loaders(experiment, splits.open_splits(experiment.data), compute.device)
    batches = loader.epoch(0)
    images, labels = next(batches)
    data_ms = mean_ms(batches, min(BATCHES, loader.steps - 1))
    steps = {"ours": our_step(experiment, compute, images, labels), "plain": plain_step(experiment, images, labels)}
    totals = {key: median_ms(step, seconds / 2) for key, step in steps.items()}
    columns = {key: parts_ms(step, totals[key]) for key, step in steps.items()}
    floor = floor_ms(experiment, compute, images)
    return {
        "recipe": name,
        "batch_size": len(images),
        "data_ms": round(data_ms, 3),
        "step_ms": {key: round(value, 2) for key, value in totals.items()},
        "parts_ms": {key: {part: round(ms, 2) for part, ms in column.items()} for key, column in columns.items()},
        "floor_ms": round(floor, 2),
        "share_of_floor_rate": round(floor / (totals["ours"] + data_ms), 3),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "hardware": environment.hardware(compute.device),
        "torch": str(torch.__version__),
        "date": environment.now(),
    }


def show(row: dict[str, Any]) -> None:
    ours, plain = row["parts_ms"]["ours"], row["parts_ms"]["plain"]
    print(f"\n{row['recipe']}, batch {row['batch_size']}, {row['precision']}, {row['threads']} threads\n")
    print("| part | plain, ms | ours, ms |\n|---|--:|--:|")
    for part in ours:
        print(f"| {part} | {plain[part]:.2f} | {ours[part]:.2f} |")
    print(f"| step | {row['step_ms']['plain']:.2f} | {row['step_ms']['ours']:.2f} |")
    print(f"| data | | {row['data_ms']:.2f} |")
    print(f"| convolutions alone | | {row['floor_ms']:.2f} ({100 * row['share_of_floor_rate']:.0f} % of their rate) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each net")
    parser.add_argument("--batch", type=int, help="instead of the recipe's")
    arguments = parser.parse_args()
    rows = [measure(name, arguments.batch, arguments.seconds) for name in arguments.recipes]
    for row in rows:
        print(json.dumps(row))
    for row in rows:
        show(row)


if __name__ == "__main__":
    main()
