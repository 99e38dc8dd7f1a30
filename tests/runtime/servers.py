"""`snug-runtime serve` as a process, and plain HTTP to ask it with."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import snugnet_runtime

PACKAGE = str(Path(snugnet_runtime.__file__).parents[1])
PATIENCE_S = 60  # beside other work on few cores
BOUNDARY = "edge of a part"


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([PACKAGE, os.environ.get("PYTHONPATH", "")]), **more}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def classify(self, data: bytes, kind: str = "image/png", path: str = "/classify", **headers: str) -> Reply:
        return self.ask("POST", path, data, Content_Type=kind, **headers)

    def classify_files(self, *files: tuple[str, bytes], **headers: str) -> Reply:
        return self.classify(form(*files), f'multipart/form-data; boundary="{BOUNDARY}"', **headers)

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def form(*files: tuple[str, bytes]) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


@contextmanager
def serving(model: Path, *options: object, **variables: str) -> Iterator[Server]:
    """Ends by itself as the block does, unless it has ended before."""
    command = [sys.executable, "-m", "snugnet_runtime", "serve", model, "--port", "0", "--threads", "1", *options]
    with subprocess.Popen(
        [str(each) for each in command], stderr=subprocess.PIPE, text=True, env=environment(**variables)
    ) as process:
        try:
            assert process.stderr
            line = process.stderr.readline()
            assert line.startswith("Serving "), line + process.stderr.read()
            yield Server(process, int(line.split(";")[0].rsplit(":", 1)[1]))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
