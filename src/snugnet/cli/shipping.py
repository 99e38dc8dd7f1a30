"""What a finished run is worth elsewhere: bench."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from snugnet import units
from snugnet.cli.console import Json, escape, out, print_json
from snugnet.cli.display import show_warning, show_windows
from snugnet.cli.training import LEDGER, Device
from snugnet.errors import Interrupted, StorageError, UsageError

if TYPE_CHECKING:
    from snugnet.ship.bench import Latency, Net, Protocol


def register(app: typer.Typer) -> None:
    app.command()(bench)


def bench(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN_OR_FILE...", help="Run directories, shipped files or recipes.")
    ],
    batch: Annotated[int, typer.Option(help="Images in an inference.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the CPU.")] = 1,
    windows: Annotated[int, typer.Option(help="Windows; the median of their medians counts.")] = 5,
    window_s: Annotated[float, typer.Option(help="Seconds that a window lasts at least.")] = 10.0,
    device: Device = "cpu",
    backend: Annotated[str, typer.Option(help="What runs the net: torch, or c: int8, compiled here.")] = "torch",
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="Add the run's line with its latency to results/ledger.jsonl; of a recipe, its last run's."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Time nets on this machine: one image after the other, on one thread, by a stated protocol.

    A recipe is timed before it is trained: what the weights are makes no difference.

    Several nets give a list with --json, one gives a document. A run keeps its last timing of one image in bench.json,
    for `snug compare`.

    Example: snug bench runs/a-001 runs/b-001 --windows 3 --window-s 2
    """
    from snugnet import runs

    protocol = _protocol(batch=batch, threads=threads, windows=windows, window_s=window_s)
    members = [path for each in paths for path in runs.members(each)]
    if not members:
        raise UsageError(f"{paths[0]}: none of its seeds has begun; `snug resume {paths[0]}` trains them")
    if record:
        _check_recordable(members, protocol)
    nets = _opened(members, protocol, backend, device)
    for net in nets:
        if record and net.is_rounded:
            raise UsageError(
                f"{net.path}: --record needs the net of the file, and it would be {net.what}; quantise it first"
            )
    found = _timed(nets, protocol, record=record)
    for latency in found:
        if latency.is_disturbed:
            fastest = f"{min(latency.windows_ms):.3f} ms in its fastest window, p90 is {latency.p90_ms:.3f} ms"
            show_warning(f"{latency.net.path}: {fastest}: other work ran beside it; repeat it on a quiet machine")
    if as_json:
        documents = [latency.plain() for latency in found]
        return print_json(documents if len(documents) > 1 else documents[0])
    return _print_latencies(found)


def _protocol(**values: Any) -> Protocol:
    from pydantic import ValidationError

    from snugnet import problems
    from snugnet.ship.bench import Protocol

    try:
        protocol = Protocol.parse(values)
    except ValidationError as error:
        raise UsageError("\n".join(problems.explain(error, Protocol, "bench", {}))) from error
    if protocol.threads > (cpus := os.cpu_count() or 1):
        raise UsageError(f"bench: threads: must be at most {cpus}, the CPUs of this machine; got {protocol.threads}")
    return protocol


def _check_recordable(paths: list[Path], protocol: Protocol) -> None:
    """The ledger holds what one image takes, and only a run knows what else stands in its line; of a recipe, the run
    that was recorded last."""
    from snugnet.ship.bench import is_recipe, recorded

    if protocol.batch > 1:
        raise UsageError(f"bench: --record needs --batch 1, the latency of one image; got {protocol.batch}")
    for path in paths:
        if is_recipe(path):
            recorded(LEDGER, path)
        elif path.is_file():
            raise UsageError(f"{path}: --record needs a run directory, and this is a file; give the run it came from")


def _opened(paths: list[Path], protocol: Protocol, backends: str, device: str) -> list[Net]:
    """Every net in every backend of a list like "torch,c"."""
    from snugnet.device import find_device
    from snugnet.export_c.timing import c_net
    from snugnet.ship.bench import torch_net

    where = find_device(device)
    known = {"torch": lambda path: torch_net(path, protocol, where), "c": lambda path: c_net(path, protocol)}
    wanted = list(dict.fromkeys(backends.split(",")))
    for name in wanted:
        if name not in known:
            raise UsageError(f"--backend {backends}: unknown backend {name!r}; give {', '.join(known)}, or several")
    if "c" in wanted and where.type != "cpu":
        raise UsageError(f"--device {device}: C runs on the CPU; give --device cpu, or --backend torch")
    return [known[name](path) for path in paths for name in wanted]


def _timed(nets: list[Net], protocol: Protocol, *, record: bool) -> list[Latency]:
    """One net after the other; each is recorded as soon as it is timed."""
    from snugnet.ship.bench import keep, measure, planned_s, record_in

    found: list[Latency] = []
    try:
        with show_windows(len(nets), planned_s(nets, protocol)) as show:
            for net in nets:
                latency = measure(net, protocol, show)
                try:
                    keep(latency)
                except StorageError as error:  # the timing is still worth printing
                    show_warning(f"the timing is not kept in its run: {error}")
                if record:
                    record_in(LEDGER, latency)
                found.append(latency)
    except KeyboardInterrupt as stop:
        timed = f"{len(found)} of {len(nets)} timed{' and recorded' if record else ''}"
        raise Interrupted(f"bench: stopped with {timed}; give those that are left again") from stop
    return found


def _print_latencies(found: list[Latency]) -> None:
    several = len({each.net.backend for each in found}) > 1
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("", overflow="fold")
    if several:
        table.add_column("backend", no_wrap=True)
    for column in ("p50, ms", "p90", "p99", "images/s", "bytes", "params", "test"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in found:
        net = each.net
        test = "–" if net.test is None else units.show_percent(net.test)
        times = [f"{value:.3f}" for value in (each.p50_ms, each.p90_ms, each.p99_ms)]
        sizes = (units.show_bytes(net.size_bytes), units.show_count(net.params))
        names = [escape(net.path), *([net.backend] if several else [])]
        table.add_row(*names, *times, f"{each.images_per_second:,.0f}", *sizes, test)
    out.print(table)
    for backend in dict.fromkeys(each.net.backend for each in found):
        for line in _words([each for each in found if each.net.backend == backend]):
            out.print(line, soft_wrap=True, markup=False)


def _words(found: list[Latency]) -> list[str]:
    """The protocol beneath the table."""
    first = found[0]
    ways = {each.way: [str(other.net.path) for other in found if other.way == each.way] for each in found}
    which = ", ".join(f"{way} ({', '.join(paths)})" if len(ways) > 1 else way for way, paths in ways.items())
    chosen = "memory layout, the faster of two in the warm-up" if len(first.ways_ms) > 1 else "memory layout"
    return [
        f"{first.words} after {first.protocol.warmup_s:g} s of warm-up; p90 and p99 of all single inferences",
        *dict.fromkeys(f"{each.net.what}, {each.net.how}" for each in found),
        f"{chosen}: {which}",
        first.net.ready,
    ]
