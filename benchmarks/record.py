"""Time to accuracy: a recipe from the command's start to its summary, seed by seed, as a user waits for it.

    python benchmarks/record.py [--seeds 5] [--peak-tflops 989] [--peer airbench94_muon.py] [--set KEY=VALUE] [RECIPE]

On a card, beside the speed record's own script on the same card (`--peer`, run as it is, its last lines shown):

    python benchmarks/record.py --seeds 5 --peak-tflops 989 --peer airbench94_muon.py snugnet/speed94

Each seed is a `snug train` of its own, in a directory that is thrown away. Convolutions and linear layers take six
floating-point operations a MAC and image, forward and backward; their rate over the time of the epochs alone is held
against `--peak-tflops`, the machine's. Prints a JSON line and a table.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from snugnet import device, environment

FLOPS = 6  # a MAC and image of training


def train(recipe: str, seed: int, overrides: list[str], folder: Path) -> dict[str, Any]:
    run = folder / f"seed-{seed}"
    command = [sys.executable, "-m", "snugnet", "train", recipe, "--seed", str(seed), "--run", str(run)]
    for override in overrides:
        command += ["--set", override]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - started
    summary = json.loads((run / "summary.json").read_text())
    with (run / "metrics.csv").open() as lines:
        epochs = list(csv.DictReader(lines))
    images, seconds = (sum(float(epoch[key]) for epoch in epochs) for key in ("images", "seconds"))
    return {
        "seed": seed,
        "wall_s": round(wall_s, 1),
        "epochs_s": round(seconds, 1),
        "tflops": FLOPS * summary["macs"] * images / seconds / 1e12,
        "test": summary["test"],
        "tta_test": summary["tta_test"],
        "params": summary["params"],
    }


def watched(peer: Path) -> dict[str, Any]:
    """Another script, as it is: its wall time, and what it said last."""
    started = time.perf_counter()
    said = subprocess.run([sys.executable, peer], check=True, capture_output=True, text=True).stdout
    return {"script": peer.name, "wall_s": round(time.perf_counter() - started, 1), "said": said.splitlines()[-5:]}


def spread(values: list[float]) -> str:
    deviation = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.2f}{deviation} %"


def show(row: dict[str, Any]) -> None:
    seeds = row["seeds"]
    print("| seed | wall, s | epochs, s | TFLOP/s | test, % | with views, % |\n|--:|--:|--:|--:|--:|--:|")
    for each in seeds:
        views = "-" if each["tta_test"] is None else f"{100 * each['tta_test']:.2f}"
        cells = (each["wall_s"], each["epochs_s"], f"{each['tflops']:.3f}", f"{100 * each['test']:.2f}", views)
        print(f"| {each['seed']} | " + " | ".join(map(str, cells)) + " |")
    print(f"\n{row['recipe']}: test {spread([each['test'] for each in seeds])} (n={len(seeds)})", end="")
    viewed = [each["tta_test"] for each in seeds if each["tta_test"] is not None]
    print(f", with views {spread(viewed)}" if viewed else "")
    if row["share_of_peak"] is not None:
        print(f"{100 * row['share_of_peak']:.1f} % of the machine's peak")
    for line in row["peer"]["said"] if row["peer"] else ():
        print(f"{row['peer']['script']}: {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="snugnet/speed94")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--peak-tflops", type=float, help="of the machine, at the recipe's precision")
    parser.add_argument("--peer", type=Path, help="a script of somebody else's, run after ours")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        numbers = range(arguments.seeds)
        seeds = [train(arguments.recipe, seed, arguments.overrides, Path(folder)) for seed in numbers]
    rate = statistics.mean(each["tflops"] for each in seeds)
    row = {
        "recipe": arguments.recipe,
        "overrides": arguments.overrides,
        "seeds": seeds,
        "share_of_peak": rate / arguments.peak_tflops if arguments.peak_tflops else None,
        "peer": watched(arguments.peer) if arguments.peer else None,
        "hardware": environment.hardware(device.find_device("auto")),
        "date": environment.now(),
    }
    print(json.dumps(row))
    show(row)


if __name__ == "__main__":
    main()
