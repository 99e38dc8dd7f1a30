"""How long a net takes here, by the protocol of `snug bench`: several windows, the median of their medians."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

import numpy as np
import onnxruntime

from snugnet_runtime.errors import UsageError
from snugnet_runtime.model import Model

BACKEND = "onnxruntime"


@dataclass(frozen=True)
class Protocol:
    batch: int = 1
    threads: int = 1
    windows: int = 5
    window_s: float = 10.0
    warmup_s: float = 1.0

    def __post_init__(self) -> None:
        """Raises UsageError."""
        for name in ("batch", "threads", "windows"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name}: must be at least 1; got {getattr(self, name)}")
        if not 0 < self.window_s < float("inf"):
            raise UsageError(f"--window-s: must be above 0; got {self.window_s:g}")


def measure(model: Model, protocol: Protocol) -> dict[str, Any]:
    """From uint8 images that lie ready to their probabilities: normalising is part of the file, and is timed."""
    shape = model.blank(protocol.batch).shape
    drawn = random.Random(0).randbytes(prod(shape))  # by Python: images of the service lack that part of numpy
    images = np.frombuffer(drawn, np.uint8).reshape(shape)

    def window(least_s: float) -> list[float]:
        times: list[float] = []
        began = before = time.perf_counter()
        while not times or before - began < least_s:
            model.shares(images)
            after = time.perf_counter()
            times.append(after - before)
            before = after
        return times

    window(protocol.warmup_s)
    windows = [window(protocol.window_s) for _ in range(protocol.windows)]
    medians = [median(times) for times in windows]
    p50 = median(medians)
    return {
        "path": str(model.path),
        "p50_ms": milliseconds(p50),
        "p90_ms": milliseconds(quantile(windows, 0.90)),
        "p99_ms": milliseconds(quantile(windows, 0.99)),
        "images_per_second": protocol.batch / p50,
        "windows_ms": [milliseconds(each) for each in medians],
        "inferences": sum(map(len, windows)),
        "batch": protocol.batch,
        "threads": protocol.threads,
        "backend": BACKEND,
        "version": onnxruntime.__version__,
        "bytes": model.size_bytes,
    }


def quantile(windows: Sequence[Sequence[float]], share: float) -> float:
    """The least time that a share of all inferences does not exceed; windows weigh alike, however many they hold."""
    weighted = sorted((time_s, 1 / len(times) / len(windows)) for times in windows for time_s in times)
    passed = 0.0
    for time_s, weight in weighted:
        passed += weight
        if passed >= share - 1e-9:  # sums of weights are rounded
            return time_s
    return weighted[-1][0]


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 4)
