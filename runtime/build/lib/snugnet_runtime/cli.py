"""`snug-runtime predict|serve|bench`: parse, call one function, print."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from snugnet_runtime import __version__, bench, model
from snugnet_runtime.errors import Refused, RuntimeFault, UsageError
from snugnet_runtime.extra import check_serve
from snugnet_runtime.images import pixels
from snugnet_runtime.limits import Settings, size_bytes
from snugnet_runtime.model import Model, Pixels

BATCH = 64
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}  # in folders
TOKEN = "SNUG_TOKEN"  # of the environment: an argument is seen by all users of a machine


def main() -> None:
    """Runs a command and ends the process with its exit code."""
    given = _parser().parse_args()
    try:
        sys.exit(given.run(given))
    except RuntimeFault as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def predict(given: argparse.Namespace) -> int:
    """A line an image, with tabs between; 4 where some cannot be read."""
    net = model.read(given.model)
    try:
        net.card.check_top(given.top)
    except ValueError as error:
        raise UsageError(f"--top: {error}") from error
    answers: list[dict[str, Any]] = []
    failed = 0
    files = iter([file for path in given.images for file in _files(path)])
    while chunk := list(islice(files, BATCH)):
        read = [(file, made) for file in chunk if (made := _read(file, net)) is not None]
        failed += len(chunk) - len(read)
        for answer in _answers(net, read, given.top):
            if given.json:
                answers.append(answer)
            else:
                listed = answer.get("top") or [answer]
                cells = [cell for each in listed for cell in (each["class"], f"{each['probability']:.4f}")]
                sys.stdout.write("\t".join([answer["image"], *cells]) + "\n")
    if given.json:
        sys.stdout.write(json.dumps(answers, indent=2) + "\n")
    return Refused.exit_code if failed else 0


def _answers(net: Model, read: Sequence[tuple[Path, Pixels]], top: int) -> Iterator[dict[str, Any]]:
    """As `snug predict --json` has them."""
    if not read:
        return
    shares = net.shares(np.stack([made for _, made in read]))
    for (file, _), own in zip(read, shares, strict=True):
        listed = [{"class": name, "probability": share} for name, share in net.top(own, top)]
        name = str(file).encode("utf-8", "backslashreplace").decode()
        yield {"image": name, **listed[0], **({"top": listed} if top > 1 else {})}


def _read(file: Path, net: Model) -> Pixels | None:
    try:
        return pixels(file.read_bytes(), net.card, str(file))
    except (Refused, OSError) as error:
        words = f"{file}: {error.strerror}" if isinstance(error, OSError) else str(error)
        sys.stderr.write(words + "\n")
        return None


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder; give images")
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
    if not found:
        raise UsageError(f"{path}: holds no image; give a folder with some, or images")
    return found


def serve(given: argparse.Namespace) -> int:
    check_serve()
    from snugnet_runtime.serve import run

    settings = Settings(
        token=os.environ.get(TOKEN) if given.token is None else given.token, max_bytes=size_bytes(given.max_bytes),
        max_pixels=given.max_pixels, max_images=given.max_images, rate=given.rate, queue=given.queue,
        batch=given.batch, wait_ms=given.wait, top=given.top, is_logging=given.log,
    )  # fmt: skip
    run(model.read(given.model, given.threads), settings, given.host, given.port, given.proxy)
    return 0


def timed(given: argparse.Namespace) -> int:
    protocol = bench.Protocol(given.batch, given.threads, given.windows, given.window_s)
    found = bench.measure(model.read(given.model, given.threads), protocol)
    if given.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        times = "  ".join(f"{name} {found[f'{name}_ms']:.3f} ms" for name in ("p50", "p90", "p99"))
        sys.stdout.write(f"{times}  {found['images_per_second']:,.0f} images/s  {found['bytes']:,} B\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("snug-runtime", description="What `snug export` wrote, at work without torch.")
    parser.add_argument("--version", action="version", version=f"snug-runtime {__version__}")
    commands = parser.add_subparsers(required=True, metavar="predict|serve|bench")
    one = commands.add_parser("predict", help="say what is on images", allow_abbrev=False)
    one.add_argument("model", type=Path, metavar="MODEL.onnx")
    one.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    one.add_argument("--top", type=int, default=1, help="so many classes an image")
    one.add_argument("--json", action="store_true", help="one JSON document")
    one.set_defaults(run=predict)
    two = commands.add_parser("serve", help="answer over HTTP", allow_abbrev=False)
    two.add_argument("model", type=Path, metavar="MODEL.onnx")
    for name, kind, words in SERVE_OPTIONS:
        default = SERVE_DEFAULTS[name]
        usual = "" if default is None else f" (default: {default})"
        two.add_argument(f"--{name}", type=kind, default=default, help=words + usual)
    two.add_argument("--log", action="store_true", help="a line a request on stderr")
    two.set_defaults(run=serve)
    three = commands.add_parser("bench", help="time the net on this machine", allow_abbrev=False)
    three.add_argument("model", type=Path, metavar="MODEL.onnx")
    for name, kind in (("batch", int), ("threads", int), ("windows", int), ("window-s", float)):
        default = getattr(bench.Protocol, name.replace("-", "_"))
        three.add_argument(f"--{name}", type=kind, default=default, help=f"default: {default}")
    three.add_argument("--json", action="store_true", help="one JSON document")
    three.set_defaults(run=timed)
    return parser


SERVE_DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1", "port": 8000, "token": None, "max-bytes": "10MB", "max-pixels": Settings.max_pixels,
    "max-images": Settings.max_images, "rate": Settings.rate, "queue": Settings.queue, "batch": Settings.batch,
    "wait": Settings.wait_ms, "threads": 0, "top": None, "proxy": None,
}  # fmt: skip
SERVE_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("host", str, "address to listen at; 0.0.0.0 is all"),
    ("port", int, "0 takes a free one"),
    ("token", str, f"ask for Authorization: Bearer TOKEN; better in the environment as {TOKEN}"),
    ("max-bytes", str, "largest body"),
    ("max-pixels", int, "pixels of an image, by its header, before any is decoded"),
    ("max-images", int, "images of a request"),
    ("rate", float, "requests a second of a client, 0 is any number"),
    ("queue", int, "images under way at once; more are answered 503"),
    ("batch", int, "images in a run of the net at most"),
    ("wait", float, "ms that the first image of a batch waits for others"),
    ("threads", int, "of the net, 0 is one a core"),
    ("top", int, "classes an image where ?top= does not say; five where there are as many"),
    ("proxy", str, "address of a reverse proxy whose X-Forwarded-For is believed"),
)
