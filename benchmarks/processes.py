"""Training speed of one, two, ... processes with one thread each: images/s of all together.

    python benchmarks/processes.py [--seconds 10] [--processes 1 2] [RECIPE]

The training loop as `snug train` runs it, on the recipe's images, nothing written. Each number of processes is started
by torchrun, warmed up for a quarter of the time, then measured. Prints a JSON line and a table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

from snugnet import device, environment, parallel, pipeline, recipe
from snugnet.data import splits
from snugnet.pipeline import Controls
from snugnet.train.loop import Step


def measure(name: str, seconds: float) -> None:
    """In one of the processes; the first prints images a second."""
    with parallel.joined(device.find_device("auto")) as processes:
        experiment, _ = pipeline.prepared(recipe.load(name, ["train.epochs=100000"]).experiment)
        compute = device.choose("auto", experiment.train.precision)
        data = splits.open_splits(experiment.data)
        began = time.perf_counter()
        images, seen, counted_from = 0, 0, None
        for progress in pipeline.learning(experiment, data, compute, Controls(processes=processes), None):
            now = time.perf_counter()
            if isinstance(progress, Step):
                if counted_from is not None:
                    images += progress.images - (seen if progress.step > 1 else 0)
                elif now - began > seconds / 4:
                    counted_from = now
                seen = progress.images
                if processes.stop("enough" if now - began > 1.25 * seconds else ""):
                    break
        if processes.leads and counted_from is not None:
            print(json.dumps({"images_per_second": images / (now - counted_from), "device": str(compute.device)}))


def started(count: int, name: str, seconds: float) -> dict[str, Any]:
    own = [__file__, name, "--seconds", str(seconds), "--measure"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *torchrun, *own], stdout=subprocess.PIPE, text=True, check=True, env=variables
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="snugnet/quickstart")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each number of processes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        return measure(arguments.recipe, arguments.seconds)
    rates = {count: started(count, arguments.recipe, arguments.seconds) for count in arguments.processes}
    speeds = {count: round(rate["images_per_second"], 1) for count, rate in rates.items()}
    first = speeds[arguments.processes[0]]
    print(
        json.dumps(
            {
                "recipe": arguments.recipe,
                "images_per_second": speeds,
                "device": rates[arguments.processes[0]]["device"],
                "threads_each": 1,
                "hardware": environment.cpu_name(),
                "torch": environment.torch_version(),
                "date": environment.now(),
            }
        )
    )
    print(f"| {arguments.recipe}: processes | images/s | ratio |\n|--:|--:|--:|")
    for count, speed in speeds.items():
        print(f"| {count} | {speed:,.0f} | {speed / first:.2f} |")
    return None


if __name__ == "__main__":
    main()
