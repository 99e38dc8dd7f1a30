"""Designs priced a second: closed forms over arrays, beside `budget.price` of the same designs one by one.

    OMP_NUM_THREADS=1 python benchmarks/design.py [--turns 3] [--built 20] [BUDGET ...]

The search is what `snug design --budget BUDGET` does: all designs like snugnet/quickstart's net. `snug` is that command
as a whole, imports too. Beside wall-clock time stands the processor's, which other work of the machine does not
lengthen. A sample of what was found is priced by building each net, and must agree to the unit. One thread. Prints a
JSON line a budget and a table.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from snugnet import budget, counts, environment, explore, pipeline, recipe
from snugnet.cli.designing import limits

BUDGETS = (
    "params=137k,macs=40M",
    "params=137k",
    "params=5M",
    "bytes=512kB,macs=40M",
    "params=500k,peak_activation=200kB",
)


def command_s(text: str) -> tuple[float, float]:
    """Wall-clock and processor seconds of `snug design`."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "snugnet", "design", "--budget", text, "--json"]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(text: str, turns: int, built: int, whole: bool) -> dict[str, Any]:
    held_to = limits(text)
    card = pipeline.planned_card(recipe.load("snugnet/quickstart").experiment)
    wall, processor, found = [], [], None
    for _ in range(turns):
        started, used = time.perf_counter(), time.process_time()
        found = explore.explore(card, held_to, shown=built)
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    assert found is not None
    used = time.process_time()
    costs = [budget.price(each) for each in found.ranked]
    one_by_one = len(costs) / (time.process_time() - used)
    for cost, each in zip(costs, found.ranked, strict=True):
        budget.check(cost, held_to)
        sums = counts.Forms(each.model).whole()
        assert (cost.params, cost.macs, cost.peak_activation_bytes) == (sums.params, sums.macs, sums.peak)
    per_second = found.priced / min(processor)
    command = command_s(text) if whole else (None, None)
    return {
        "budget": text,
        "priced": found.priced,
        "fitting": found.fit,
        "wall_s": round(statistics.median(wall), 3),
        "processor_s": round(min(processor), 3),
        "per_processor_second": round(per_second),
        "built_per_processor_second": round(one_by_one, 1),
        "ratio": round(per_second / one_by_one),
        "command_wall_s": command[0] and round(command[0], 2),
        "command_processor_s": command[1] and round(command[1], 2),
        "best": explore.described(found.ranked[0]),
        "hardware": environment.hardware(torch.device("cpu")),
        "load": round(os.getloadavg()[0], 1),
        "date": environment.now(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("budgets", nargs="*", default=list(BUDGETS), metavar="BUDGET")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--built", type=int, default=20, help="how many of the best are priced by building them too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for place, text in enumerate(arguments.budgets):
        rows.append(measure(text, arguments.turns, arguments.built, whole=place == 0))
        print(json.dumps(rows[-1]), flush=True)
    print(
        "| budget | designs priced | fit | processor s | priced a second | built a second | ratio | command, s (CPU) |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        command = f"{row['command_wall_s']} ({row['command_processor_s']})" if row["command_wall_s"] else "–"
        print(
            f"| `{row['budget']}` | {row['priced']:,} | {row['fitting']:,} | {row['processor_s']} "
            f"| {row['per_processor_second']:,} | {row['built_per_processor_second']} | {row['ratio']:,} | {command} |"
        )


if __name__ == "__main__":
    main()
