"""Headless Chromium, driven over its DevTools protocol through a pair of pipes: no package, no port, no network."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
    "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE_S = 120  # beside other work on few cores


def find() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Tab:
    """A page, what it complained of, and what it asked for."""

    reads: int
    writes: int
    session: str = ""
    number: int = 0
    buffer: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> Any:
        """The answer to a command; what else is heard meanwhile is kept in `events`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writes, json.dumps(message).encode() + b"\0")
        while (heard := self._hear()).get("id") != self.number:
            self.events.append(heard)
        assert "error" not in heard, f"{method}: {heard['error']}"
        return heard["result"]

    def _hear(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.reads], [], [], max(0, end - time.monotonic()))
            assert ready, "Chromium is silent"
            more = os.read(self.reads, 1 << 20)
            assert more, "Chromium has ended"
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\0")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def open(self, path: Path, *, width: int = 1200, dark: bool = False, scripts: bool = True) -> None:
        """Loads a file from disk, and waits until it is there with all its images."""
        self.events.clear()
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.media(dark=dark)
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._hear())

    def media(self, *, dark: bool = False, kind: str = "") -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=kind, features=[scheme])

    def run(self, script: str) -> Any:
        """The value of an expression, awaited where it is a promise."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def complaints(self) -> list[Any]:
        """Errors and warnings of the console, and exceptions, since the page was opened."""
        self.run("0")  # what came before the answer has been heard
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event["params"] for event in self.events if event["method"] in kinds]

    def requests(self) -> list[str]:
        """What was asked for, but for data that the page holds itself."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent if not each["request"]["url"].startswith("data:")]

    def picture(self, path: Path) -> None:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def printed(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"]))


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Tab]:
    """A browser with one tab, closed at the end."""
    their_reads, our_writes = os.pipe()
    our_reads, their_writes = os.pipe()
    command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(  # the protocol wants pipes 3 and 4, whichever ours are
        ["bash", "-c", f'exec "$@" 3<&{their_reads} 4>&{their_writes}', "bash", *command],
        pass_fds=(their_reads, their_writes), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(their_reads)
        os.close(their_writes)
        tab = Tab(our_reads, our_writes)
        try:
            target = tab.call("Target.createTarget", url="about:blank")["targetId"]
            tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.call(f"{domain}.enable")
            yield tab
        finally:
            tab.session = ""
            tab.number += 1
            os.write(our_writes, json.dumps({"id": tab.number, "method": "Browser.close"}).encode() + b"\0")
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            os.close(our_writes)
            os.close(our_reads)
