"""What a finished run is worth elsewhere: bench, export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from snugnet import units
from snugnet.cli.console import Data, Json, escape, out, print_json
from snugnet.cli.display import show_warning, show_windows
from snugnet.cli.training import LEDGER, Device
from snugnet.errors import Interrupted, StorageError, UsageError

if TYPE_CHECKING:
    from snugnet.ship.bench import Latency, Net, Protocol
    from snugnet.ship.exporting import Exported


def register(app: typer.Typer) -> None:
    for command in (bench, export):
        app.command()(command)


def bench(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_OR_FILE...", help="Run directories, shipped files, ONNX files or recipes."),
    ],
    backend: Annotated[
        str | None,
        typer.Option(help="torch, onnxruntime, c or all; otherwise torch, and onnxruntime for ONNX files."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Images in an inference.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the CPU.")] = 1,
    windows: Annotated[
        int | None, typer.Option(show_default="5", help="Windows; the median of their medians counts.")
    ] = None,
    window_s: Annotated[
        float | None, typer.Option(show_default="10", help="Seconds that a window lasts at least.")
    ] = None,
    starts: Annotated[
        int | None,
        typer.Option(show_default="3", help="Fresh processes that cold start and memory are measured in; 0: none."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="3 windows of 1 s, and one fresh process.")] = False,
    device: Device = "cpu",
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="Add the run's line with its latency to results/ledger.jsonl; of a recipe, its last run's."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Time nets on this machine: one image after the other, on one thread, by a stated protocol.

    Several nets and backends take turns, window by window, and the best is marked. A recipe is timed before it is
    trained: what the weights are makes no difference.

    Several timings give a list with --json, one gives a document. A run keeps the last timing of one image, in its best
    backend, in bench.json, for `snug compare`.

    Example: snug bench runs/a-001 runs/b-001 --backend all --quick
    """
    from snugnet import runs
    from snugnet.device import find_device
    from snugnet.ship.backends import nets_of

    given = {"windows": windows, "window_s": window_s, "starts": starts}
    protocol = _protocol(given, quick=quick, batch=batch, threads=threads)
    members = [path for each in paths for path in runs.members(each)]
    if not members:
        raise UsageError(f"{paths[0]}: none of its seeds has begun; `snug resume {paths[0]}` trains them")
    if record:
        _check_recordable(members, protocol)
    found = _timed(nets_of(members, backend, protocol, find_device(device), show_warning), protocol, record=record)
    for latency in found:
        if latency.is_disturbed:
            fastest = f"{min(latency.windows_ms):.3f} ms in its fastest window, p90 is {latency.p90_ms:.3f} ms"
            show_warning(f"{latency.net.path}: {fastest}: other work ran beside it; repeat it on a quiet machine")
    if as_json:
        documents = _documents(found)
        return print_json(documents if len(documents) > 1 else documents[0])
    return _print_latencies(found)


def _protocol(given: dict[str, Any], *, quick: bool, **others: Any) -> Protocol:
    """What is given counts before what --quick takes, and that before the defaults."""
    from pydantic import ValidationError

    from snugnet import problems
    from snugnet.ship.bench import QUICK, Protocol

    values = (QUICK if quick else {}) | {name: value for name, value in given.items() if value is not None} | others
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


def _timed(nets: list[Net], protocol: Protocol, *, record: bool) -> list[Latency]:
    """All nets, window by window; each run keeps its fastest."""
    from snugnet.ship.bench import fastest_of_each, keep, measure, planned_s, record_in, started

    try:
        with show_windows(len(nets), planned_s(nets, protocol)) as show:
            found = [started(latency) for latency in measure(nets, protocol, show)]
    except KeyboardInterrupt as stop:
        raise Interrupted("bench: stopped; nothing is kept or recorded of a timing that has not ended") from stop
    for latency in fastest_of_each(found):
        try:
            keep(latency)
        except StorageError as error:  # the timing is still worth printing
            show_warning(f"the timing is not kept in its run: {error}")
        if record:
            record_in(LEDGER, latency)
    return found


def _documents(found: list[Latency]) -> list[dict[str, Any]]:
    from snugnet.ship.bench import ranks

    return [
        each.plain() | {"best": rank == 1, "times_best": round(rank, 3)}
        for each, rank in zip(found, ranks(found), strict=True)
    ]


def _print_latencies(found: list[Latency]) -> None:
    """The number of parameters gives way to the backends, where there are several."""
    from snugnet.ship.bench import ranks

    several, compared = len({each.net.backend for each in found}) > 1, len(found) > 1
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("", overflow="fold")
    if several:
        table.add_column("backend", no_wrap=True)
    times = ("p50, ms", *["x best"] * compared, "p90", "p99", "images/s")
    for column in (*times, "bytes", *["params"] * (not several), "test"):
        table.add_column(column, justify="right", no_wrap=True)
    for each, rank in zip(found, ranks(found), strict=True):
        net = each.net
        backend, params = ([net.backend], []) if several else ([], [units.show_count(net.params)])
        ranked = ["best" if rank == 1 else f"{rank:.2f}"] * compared
        test = "–" if net.test is None else units.show_percent(net.test)
        p50, p90, p99 = (f"{value:.3f}" for value in (each.p50_ms, each.p90_ms, each.p99_ms))
        row = (*backend, p50, *ranked, p90, p99, f"{each.images_per_second:,.0f}")
        table.add_row(escape(net.path), *row, units.show_bytes(net.size_bytes), *params, test)
    out.print(table)
    for line in _words(found):
        out.print(line, soft_wrap=True, markup=False)


def _words(found: list[Latency]) -> list[str]:
    """The protocol beneath the table."""
    first = found[0]
    protocols = dict.fromkeys(each.words for each in found)
    nets = dict.fromkeys(f"{each.net.backend}: {each.net.what}, {each.net.how}" for each in found)
    return [
        *(f"{words} after {first.protocol.warmup_s:g} s of warm-up" for words in protocols),
        "p90 and p99 of all single inferences" + ("; windows take turns" if len(found) > 1 else ""),
        *nets,
        *_layouts([each for each in found if len(each.ways_ms) > 1]),
        *map(_start, [each for each in found if each.start]),
        "the batch lies ready: reading, decoding and normalising images is not timed",
    ]


def _layouts(found: list[Latency]) -> list[str]:
    ways = {each.way: [str(other.net.path) for other in found if other.way == each.way] for each in found}
    which = ", ".join(f"{way} ({', '.join(paths)})" if len(ways) > 1 else way for way, paths in ways.items())
    return [f"memory layout, the faster of two in the warm-up: {which}"] if found else []


def _start(each: Latency) -> str:
    assert each.start is not None
    held = ""
    if each.start.memory_bytes is not None and each.start.process_bytes is not None:
        own, whole = map(units.show_bytes, (each.start.memory_bytes, each.start.process_bytes))
        held = f"; {own} of memory beyond what its imports hold, {whole} in all"
    return (
        f"{each.net.path} {each.net.backend}: a fresh process answers after {each.start.cold_start_ms:,.0f} ms, of "
        f"which {each.start.load_ms:.1f} ms from the file on{held}"
    )


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_FILE", help="A run directory or a shipped file.")],
    format: Annotated[str, typer.Option(help="onnx, or torch for a torch.export program (.pt2).")] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where the file goes; otherwise model.onnx in the run, or beside the file."
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Pre-processing outside: normalised float images in, logits out."),
    ] = False,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Hold it against the run on at most this many images of each split; otherwise all."),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write a run's net for another runtime, read it again, and hold it against the run; exit 5 where they disagree.

    uint8 images (N, C, H, W) go in, probabilities and logits come out, N of any size. Files in floats must give
    99.9 % of images the class that the run gives them, files in integers 99 %.

    Example: snug export runs/demo-001 --format onnx
    """
    from snugnet.ship.exporting import Wish, require
    from snugnet.ship.exporting import export as write

    found = write(run, Wish(format, output, raw, images, data))
    if as_json:
        print_json(found.plain())
    else:
        _print_export(found)
    require(found)


def _print_export(found: Exported) -> None:
    floats = (
        "" if found.float_agreement is None else f"; with the float run: {units.show_percent(found.float_agreement)}"
    )
    lines = [
        str(found.path),
        f"{units.show_bytes(found.bytes)} ({found.bytes:,} B); the run's file has {found.run_bytes:,} B",
        *(
            f"{name}, {each.images:,} images: the same class for {units.show_percent(each.agreement)}, logits "
            f"differ by up to {each.max_abs_diff:.2g}; accuracy {units.show_percent(each.accuracy)}, of the run "
            f"{units.show_percent(each.run_accuracy)}{floats if name == found.split else ''}"
            for name, each in found.splits.items()
        ),
        f"p50 {found.p50_ms:.3f} ms, of the run in torch {found.run_p50_ms:.3f} ms: one image, one thread, a glance; "
        f"`snug bench` measures",
    ]
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)
