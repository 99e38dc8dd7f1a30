"""Training from files beside training from memory: images a second, and how much memory each takes, in the same run.

    python benchmarks/scale.py [--images 1000000] [--side 32] [--steps 300] [--batch 128] [--turns 3] [--folder DIR]

A synthetic set is stored as `data.memory = "map"` stores a folder, in a temporary folder that is removed at the end. A
small net then trains from the files and from memory in turns, after a warm-up each. Memory is the process's anonymous
memory (RssAnon of /proc/self/status, Linux only: pages of files that the system may drop at any time are not in it),
read after every step: the most that was seen, above what the net alone took. On a busy machine the ratio of images a
second of processor time is the steadier one. Prints a JSON line and a table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snugnet import device, environment
from snugnet.data import store
from snugnet.data.augment import Crop, Flip
from snugnet.data.config import Normalization
from snugnet.data.images import Images
from snugnet.data.loader import TrainLoader
from snugnet.data.mapped import parts
from snugnet.data.store import Contents
from snugnet.models import resnet
from snugnet.models.spec import ModelSpec
from snugnet.train import loop
from snugnet.train.config import TrainConfig

CLASSES = 10
WARM_UP = 5  # steps
NET = {"stages": [["basic", 1, 16], ["basic", 1, 32]], "stem": {"stride": 2}, "classes": CLASSES}


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def stored(folder: Path, count: int, side: int) -> Images:
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(count)]
    contents = Contents((3, side, side), [n % CLASSES for n in range(count)], names, tuple("0123456789"))
    pixels = (random.integers(0, 256, (3, side, side), np.uint8) for _ in range(count))
    store.write(folder, contents, pixels)
    found = store.opened(folder)
    assert found is not None
    return found


class Training:
    """Goes on for as long as it is asked to."""

    def __init__(self, images: Images, side: int, batch: int) -> None:
        config = TrainConfig.parse({"epochs": 100_000, "batch_size": batch, "optimizer": {"lr": 0.001}})
        where = torch.device("cpu")
        self.batch = batch
        loader = TrainLoader(
            images,
            Normalization(mean=(0.5,) * 3, std=(0.25,) * 3),
            classes=CLASSES,
            batch_size=batch,
            augment=[Crop(op="crop", padding=4), Flip(op="flip")],
            seed=0,
            device=where,
        )
        torch.manual_seed(0)
        model = resnet.build(ModelSpec.parse(NET | {"image_size": side, "in_channels": 3}))
        self.progress: Iterator[Any] = loop.fit(model, loader, None, config, device.choose("cpu", "fp32"))

    def run(self, steps: int) -> tuple[float, int, float]:
        """Images a second, the most anonymous memory, and images a second of processor time, all threads together."""
        most, started, used = 0, time.perf_counter(), time.process_time()
        for _ in range(steps):
            next(self.progress)
            most = max(most, anonymous_bytes())
        images = steps * self.batch
        return images / (time.perf_counter() - started), most, images / (time.process_time() - used)


def net_alone(side: int, batch: int) -> int:
    """Anonymous memory of a process that trains the net on next to nothing."""
    few = Images(torch.zeros(2 * batch, 3, side, side, dtype=torch.uint8), torch.arange(2 * batch) % CLASSES, None)
    return Training(few, side, batch).run(WARM_UP)[1]


def measured(images: Images, side: int, steps: int, batch: int, turns: int, net_bytes: int) -> dict[str, Any]:
    """First from files alone, for the memory; the set comes into memory only then."""
    mapped = Training(images, side, batch)
    mapped_bytes = max(mapped.run(WARM_UP)[1], mapped.run(steps)[1])
    kept = Training(Images(torch.cat(list(parts(images.pixels))), images.labels, None), side, batch)
    kept.run(WARM_UP)
    turned = [(mapped.run(steps), kept.run(steps)) for _ in range(turns)]
    from_files, from_memory = ([turn[place] for turn in turned] for place in (0, 1))

    def ratio(what: int) -> float:
        return round(statistics.median(turn[0][what] / turn[1][what] for turn in turned), 3)

    return {
        "map_images_per_second": round(statistics.median(each[0] for each in from_files)),
        "ram_images_per_second": round(statistics.median(each[0] for each in from_memory)),
        "ratio": ratio(0),
        "ratio_of_processor_time": ratio(2),
        "net_anonymous_mb": round(net_bytes / 1e6),
        "map_above_net_mb": round((mapped_bytes - net_bytes) / 1e6),
        "ram_and_map_above_net_mb": round((max(each[1] for each in from_memory) - net_bytes) / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300, help="of each turn")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        net_bytes = net_alone(given.side, given.batch)
        started = time.perf_counter()
        images = stored(Path(folder) / "set", given.images, given.side)
        stored_s = time.perf_counter() - started
        row = {
            "images": given.images,
            "side": given.side,
            "set_mb": round(given.images * 3 * given.side**2 / 1e6),
            "batch_size": given.batch,
            "steps": given.steps,
            "store_s": round(stored_s, 1),
            **measured(images, given.side, given.steps, given.batch, given.turns, net_bytes),
            "threads": torch.get_num_threads(),
            "hardware": environment.hardware(torch.device("cpu")),
            "torch": str(torch.__version__),
            "date": environment.now(),
        }
    print(json.dumps(row))
    print(
        "| images | side | set, MB | from | images/s | anonymous memory above the net's, MB |\n"
        "|--:|--:|--:|---|--:|--:|\n"
        f"| {row['images']:,} | {row['side']} | {row['set_mb']:,} | files | {row['map_images_per_second']:,} "
        f"({row['ratio']:.2f} of memory's) | {row['map_above_net_mb']:,} |\n"
        f"| | | | memory | {row['ram_images_per_second']:,} | {row['ram_and_map_above_net_mb']:,} (both at once) |"
    )


if __name__ == "__main__":
    main()
