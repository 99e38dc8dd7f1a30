"""Holds a service under load: many clients at once, each with its next request as soon as it is answered.

    python benchmarks/serve.py --model RUN/model.onnx --clients 200 --seconds 60      # starts one, and ends it
    python benchmarks/serve.py --url 127.0.0.1:8000                                   # asks one that runs

Prints one JSON document: requests, errors by kind, milliseconds at p50, p90, p99 and most, images a second, and, of a
service that it started, resident megabytes at 10 s and at the end. The clients are bare asyncio streams with
keep-alive, in one process of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SETTLED_S = 10.0  # when memory is looked at first


@dataclass
class Seen:
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    resident_mb: dict[str, float] = field(default_factory=dict)


def picture(side: int) -> bytes:
    """A JPEG file with noise, the hardest to decode."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


async def client(host: str, port: int, data: bytes, end: float, seen: Seen) -> None:
    head = (
        f"POST /classify HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
    ).encode()
    wire = None
    while time.perf_counter() < end:
        began = time.perf_counter()
        try:
            if wire is None:
                wire = await asyncio.open_connection(host, port)
            status, answer = await asked(*wire, head + data)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            seen.errors[type(error).__name__] += 1
            wire = None
            continue
        if status == 200 and json.loads(answer)[0]["class"]:
            seen.seconds.append(time.perf_counter() - began)
        else:
            seen.errors[str(status)] += 1
    if wire:
        wire[1].close()


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    writer.write(request)
    await writer.drain()
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
    return int(lines[0].split(" ")[1]), await reader.readexactly(length)


async def load(host: str, port: int, data: bytes, clients: int, seconds: float, process: int | None) -> Seen:
    seen, began = Seen(), time.perf_counter()

    async def watch() -> None:
        await asyncio.sleep(min(SETTLED_S, seconds / 2))
        seen.resident_mb["early"] = resident_mb(process)
        await asyncio.sleep(began + seconds - time.perf_counter())
        seen.resident_mb["end"] = resident_mb(process)

    asks = [client(host, port, data, began + seconds, seen) for _ in range(clients)]
    await asyncio.gather(*asks, *([watch()] if process else []))
    return seen


def resident_mb(process: int | None) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def started(model: str, options: list[str]) -> tuple[subprocess.Popen[str], str, int]:
    command = [sys.executable, "-m", "snugnet_runtime", "serve", model, "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    line = process.stderr.readline()
    if not line.startswith("Serving "):
        sys.exit(line + process.stderr.read())
    return process, "127.0.0.1", int(line.split(";")[0].rsplit(":", 1)[1])


def described(seen: Seen, wall_s: float, given: argparse.Namespace) -> dict[str, Any]:
    milliseconds = 1000 * np.array(seen.seconds or [float("nan")])
    document: dict[str, Any] = {
        "clients": given.clients,
        "seconds": round(wall_s, 1),
        "image_side": given.side,
        "answered": len(seen.seconds),
        "errors": dict(seen.errors),
        "p50_ms": round(float(np.percentile(milliseconds, 50)), 1),
        "p90_ms": round(float(np.percentile(milliseconds, 90)), 1),
        "p99_ms": round(float(np.percentile(milliseconds, 99)), 1),
        "most_ms": round(float(milliseconds.max()), 1),
        "images_per_second": round(len(seen.seconds) / wall_s, 1),
        "load_average": [round(each, 1) for each in os.getloadavg()],
    }
    if seen.resident_mb:
        early, end = seen.resident_mb["early"], seen.resident_mb["end"]
        document |= {"resident_mb_at_10_s": round(early, 1), "resident_mb_at_end": round(end, 1)}
        document["growth"] = round(end / early - 1, 4)
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="an exported .onnx; the service is started here")
    parser.add_argument("--url", help="HOST:PORT of one that runs")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--side", type=int, default=32, help="pixels of the JPEG that is sent")
    given, options = parser.parse_known_args()  # what is left is for the service
    if (given.model is None) == (given.url is None):
        parser.error("give --model or --url")
    process = None
    if given.model:
        process, host, port = started(given.model, options)
    else:
        host, _, number = given.url.rpartition(":")
        port = int(number)
    began = time.perf_counter()
    seen = asyncio.run(
        load(host, port, picture(given.side), given.clients, given.seconds, process.pid if process else None)
    )
    document = described(seen, time.perf_counter() - began, given)
    if process:
        process.send_signal(signal.SIGTERM)
        document["exit"] = process.wait(60)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
