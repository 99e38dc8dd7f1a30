"""What a server counts, as Prometheus reads it: text, of a size that no client can make grow."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Histogram:
    def __init__(self, bounds: Iterable[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        place = next((place for place, bound in enumerate(self._bounds) if value <= bound), len(self._bounds))
        self._counts[place] += 1
        self._sum += value

    def lines(self, name: str) -> Iterable[str]:
        bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        for bound, count in zip(bounds, accumulate(self._counts), strict=True):
            yield f'{name}_bucket{{le="{bound}"}} {count}'
        yield f"{name}_sum {self._sum}"
        yield f"{name}_count {sum(self._counts)}"


class Metrics:
    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._requests: Counter[tuple[str, int]] = Counter()
        self.images = 0
        self.seconds = Histogram(SECONDS)  # of requests to classify that were answered with classes
        self.batches = Histogram(IMAGES)

    def request(self, path: str, status: int, seconds: float) -> None:
        self._requests[path if path in self._paths else "other", status] += 1
        if path == "/classify" and status == 200:
            self.seconds.add(seconds)

    def text(self, images_now: int, bytes_now: int) -> str:
        return "\n".join(self._lines(images_now, bytes_now)) + "\n"

    def _lines(self, images_now: int, bytes_now: int) -> Iterable[str]:
        yield from _described("snug_requests_total", "counter", "Requests answered, by path and status.")
        for (path, status), count in sorted(self._requests.items()):
            yield f'snug_requests_total{{path="{path}",status="{status}"}} {count}'
        yield from _described("snug_images_total", "counter", "Images classified.")
        yield f"snug_images_total {self.images}"
        yield from _described("snug_classify_seconds", "histogram", "Time from a request to its classes.")
        yield from self.seconds.lines("snug_classify_seconds")
        yield from _described("snug_batch_images", "histogram", "Images in a run of the net.")
        yield from self.batches.lines("snug_batch_images")
        yield from _described("snug_images_in_flight", "gauge", "Images received, decoded or waiting now.")
        yield f"snug_images_in_flight {images_now}"
        yield from _described("snug_body_bytes_in_flight", "gauge", "Bytes of bodies in memory now.")
        yield f"snug_body_bytes_in_flight {bytes_now}"
        if (memory := resident_bytes()) is not None:
            yield from _described("process_resident_memory_bytes", "gauge", "Resident memory of the process.")
            yield f"process_resident_memory_bytes {memory}"


def resident_bytes() -> int | None:
    """None where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _described(name: str, kind: str, words: str) -> Iterable[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"
