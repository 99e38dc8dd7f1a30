"""Latency of one image and peak memory, every runtime that is here beside the others, in one run.

    python benchmarks/latency.py [--windows 5] [--seconds 10] [--starts 3] [--threads 1 2] [RECIPE ...]

PyTorch as it is (eager), ONNX Runtime in floats and in int8, our C in int8 (on one thread, all that it knows), and
OpenVINO in floats where it is installed. It is the protocol of `snug bench` (docs/bench.md): each is warmed up, then
they take turns, a window each, so that other work disturbs all; p50 is the median of the windows' medians. Weights are
untrained and int8 is calibrated on noise: no time hangs on either. Memory is the most that a fresh process held while
it read the file and answered once, its imports included, and beyond those; of C it is what a program needs, by its
weights and the plan of its maps. Prints a table for each number of threads, and a JSON line a row. `ratio` is p50 over
that of ONNX Runtime in floats.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from snugnet import artifact, budget, environment
from snugnet.compress.config import Quantization
from snugnet.errors import MissingExtra
from snugnet.export.emit import INPUT, onnx_bytes
from snugnet.ship import bench
from snugnet.ship.backends import runtime_net
from snugnet.ship.bench import Latency, Net, Protocol, Way, Window, torch_net
from snugnet.ship.c_timing import c_net, integers

RECIPES = ["patil25/resnetsmall", "durga25/narrow-resnet18", "tu24/v6", "baseline/resnet18"]
HEAD = f"{'net':<26}{'runtime':<20}{'p50 ms':>9}{'p90 ms':>9}{'ratio':>7}{'process MB':>12}{'own MB':>8}{'file B':>12}"
PEER = "onnxruntime float"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    recipe: str
    runtime: str
    net: Net
    memory_bytes: int | None = None  # of what has no process of its own


def files(recipe: str, folder: Path) -> tuple[Path, Path]:
    """The untrained net of a recipe as a shipped file in floats, and in int8."""
    net = bench.untrained(Path(recipe))
    whole, small = (folder / f"{recipe.replace('/', '-')}-{kind}.safetensors" for kind in ("float", "int8"))
    artifact.write(whole, net.card, net.model)
    artifact.write(small, net.card.model_copy(update={"quantization": Quantization()}), integers(net))
    return whole, small


def rows(recipe: str, whole: Path, small: Path, protocol: Protocol) -> Iterator[Row]:
    yield Row(recipe, "torch float", torch_net(whole, protocol, CPU))
    yield Row(recipe, PEER, runtime_net(whole, protocol, CPU))
    yield Row(recipe, "onnxruntime int8", runtime_net(small, protocol, CPU))
    if other := openvino_net(whole, protocol):
        yield Row(recipe, "openvino float", other)
    if protocol.threads == 1:
        try:
            yield Row(recipe, "c int8", c_net(small, protocol, CPU), in_c(small))
        except MissingExtra as missing:
            print(f"c is left out: {missing}")


def in_c(small: Path) -> int | None:
    """The memory that a program in C needs: its weights, and the RAM of its maps where that is known."""
    planned = budget.measure(artifact.read(small).card, "ram_bytes")
    return None if planned is None else int(planned) + small.stat().st_size


def openvino_net(whole: Path, protocol: Protocol) -> Net | None:
    """None where it is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    shipped, core = artifact.read(whole), openvino.Core()
    spec, data = shipped.card.model, onnx_bytes(shipped, raw=True)
    hints = {"INFERENCE_NUM_THREADS": protocol.threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(data), "CPU", hints).create_infer_request()
    shape = protocol.batch, spec.in_channels, spec.image_size, spec.image_size
    given = {INPUT: torch.randn(shape, generator=torch.Generator().manual_seed(0)).numpy()}
    facts: dict[str, Any] = {"backend": "openvino", "version": openvino.__version__, "size_bytes": len(data)}
    ways = (Way("onnx", lambda: request.infer(given, share_inputs=True)),)
    return replace(runtime_net(whole, protocol, CPU), **facts, how="fp32, fused as it sees fit", ways=ways, cold=None)


def measured(given: Sequence[Row], protocol: Protocol) -> list[Latency]:
    def show(window: Window) -> None:
        print(f"{window.number}/{window.windows} {window.backend} {window.path.stem}", file=sys.stderr)

    return [bench.started(each) for each in bench.measure([row.net for row in given], protocol, show)]


def table(given: Sequence[Row], found: Sequence[Latency], protocol: Protocol) -> list[dict[str, Any]]:
    """Prints it, and gives the rows as plain values."""
    peers = {row.recipe: each.p50_ms for row, each in zip(given, found, strict=True) if row.runtime == PEER}
    print(f"{protocol.threads} thread{'s' * (protocol.threads > 1)}, batch {protocol.batch}\n{HEAD}")
    lines = []
    for row, each in zip(given, found, strict=True):
        ratio, start = each.p50_ms / peers[row.recipe], each.start
        process = start.process_bytes if start else None
        own = start.memory_bytes if start else row.memory_bytes
        print(
            f"{row.recipe:<26}{row.runtime:<20}{each.p50_ms:>9.3f}{each.p90_ms:>9.3f}{ratio:>7.2f}"
            f"{megabytes(process):>12}{megabytes(own):>8}{each.net.size_bytes:>12,}" + " †" * each.is_disturbed
        )
        facts = {"recipe": row.recipe, "runtime": row.runtime, "ratio": round(ratio, 3)}
        memory = {"process_bytes": process, "memory_bytes": own, "memory_is": "measured" if start else "stated"}
        lines.append({name: value for name, value in each.plain().items() if name != "path"} | facts | memory)
    if any(each.is_disturbed for each in found):
        print("† other work ran beside it")
    return lines


def megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", default=RECIPES)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a window")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds of each way to run a net")
    parser.add_argument("--starts", type=int, default=3, help="fresh processes that memory is measured in; 0: none")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    lines = []
    print(f"{environment.processor(CPU)}, torch {environment.torch_version()}")
    with tempfile.TemporaryDirectory() as folder:
        made = {recipe: files(recipe, Path(folder)) for recipe in options.recipes}
        for threads in options.threads:
            times = {"windows": options.windows, "window_s": options.seconds, "warmup_s": options.warmup}
            protocol = Protocol.parse({**times, "threads": threads, "starts": options.starts})
            given = [row for recipe, pair in made.items() for row in rows(recipe, *pair, protocol)]
            lines += table(given, measured(given, protocol), protocol)
    for line in lines:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
