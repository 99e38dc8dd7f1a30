"""A net that answers over HTTP: serve. The service is that of the distribution snugnet-runtime."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from snugnet.errors import ArtifactError, MissingExtra, UsageError

RUNTIME = "snugnet_runtime"


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    run: Annotated[
        Path, typer.Argument(metavar="RUN_OR_FILE", help="A run directory, a shipped file, or an exported .onnx.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SNUG_TOKEN",
            help="Ask for Authorization: Bearer TOKEN; other users see arguments, so set SNUG_TOKEN.",
        ),
    ] = None,
    max_bytes: Annotated[str, typer.Option(help="Largest body.")] = "10MB",
    max_pixels: Annotated[int, typer.Option(help="Of an image by its header, before any is decoded.")] = 25_000_000,
    max_images: Annotated[int, typer.Option(help="Images of a request.")] = 64,
    rate: Annotated[float, typer.Option(help="Requests a second of a client; 0 is any number.")] = 0.0,
    queue: Annotated[int, typer.Option(help="Images under way at once; more are answered 503.")] = 1024,
    batch: Annotated[int, typer.Option(help="Images in a run of the net at most.")] = 32,
    wait: Annotated[float, typer.Option(help="ms that the first image of a batch waits for others.")] = 2.0,
    threads: Annotated[int, typer.Option(help="Of the net; 0 is one a core.")] = 0,
    top: Annotated[int | None, typer.Option(help="Classes an image; five where there are as many.")] = None,
    proxy: Annotated[
        str | None, typer.Option(help="Address of a reverse proxy whose X-Forwarded-For is believed.")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="A line a request on stderr.")] = False,
) -> None:
    """Answer over HTTP what is on images: POST them to /classify, or drop them on the page at /.

    Example: snug serve runs/demo-001 --port 8000
    """
    _check_installed()
    faults, limits, model, service = (_part(name) for name in ("errors", "limits", "model", "serve"))
    try:
        settings = limits.Settings(
            token=token, max_bytes=limits.size_bytes(max_bytes), max_pixels=max_pixels, max_images=max_images,
            rate=rate, queue=queue, batch=batch, wait_ms=wait, top=top, is_logging=log,
        )  # fmt: skip
        net = model.read(_onnx_file(run), threads)
        service.run(net, settings, host, port, proxy)
    except faults.UsageError as error:
        raise UsageError(str(error)) from error
    except faults.ModelError as error:
        raise ArtifactError(str(error)) from error


def _onnx_file(run: Path) -> Path:
    from snugnet.ship.served import onnx_file

    return onnx_file(run)


def _check_installed() -> None:
    if find_spec(RUNTIME) is None:
        raise MissingExtra(
            f"serve: needs {RUNTIME}, not installed here: pip install 'snugnet[serve]', or in a checkout "
            "pip install './runtime[serve]'"
        )
    try:
        _part("extra").check_serve()
    except _part("errors").MissingExtra as error:
        raise MissingExtra(str(error)) from error


def _part(name: str) -> Any:
    return importlib.import_module(f"{RUNTIME}.{name}")
